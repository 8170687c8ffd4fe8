"""Which recipe serves a task. A new task is a file and a row."""

from collections.abc import Callable

from pipelines.components import Components
from pipelines.plan import Plan, Task
from pipelines.recipes import image_to_video, text_to_video
from pipelines.values import Clip, Inputs, Progress

Recipe = Callable[[Components, Plan, Inputs, Progress], Clip]

RECIPES: dict[Task, Recipe] = {
    "text_to_video": text_to_video.run,
    "image_to_video": image_to_video.run,
}
