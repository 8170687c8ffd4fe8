"""The baselines' own settings are diffusers as it is."""

from benchmarks.baselines.stock import as_shipped
from ltx2.settings import Settings
from pipelines.speed.levers import STOCK


def test_a_baselines_settings_leave_every_lever_alone():
    assert as_shipped(Settings()).levers() == STOCK
