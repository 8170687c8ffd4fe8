"""Schedulers that use a sigma table as it is.

What differs: (1) the repositories' scheduler configs shift explicit sigmas by the token count and
stretch them to a terminal value again; (2) `FlowMatchEulerDiscreteScheduler` appends a 0.0 of its
own, so a table that ends in 0.0 would divide by zero and make every latent NaN, while
`LTXEulerAncestralRFScheduler` wants the 0.0; (3) the pipelines call the ancestral scheduler without
a generator, so its noise does not follow the seed.
End: this file stays as long as our tables end in 0.0; (1) and (2) are asserted on every run.
"""

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTXEulerAncestralRFScheduler

from pipelines.plan import DenoisePlan

Scheduler = FlowMatchEulerDiscreteScheduler | LTXEulerAncestralRFScheduler


def static_schedule(plan: DenoisePlan, device: torch.device) -> Scheduler:
    """A fresh scheduler for one stream of one pass, whose sigmas equal the plan's table."""
    table = list(plan.sigmas)
    if plan.sampler == "ancestral_euler":
        scheduler: Scheduler = LTXEulerAncestralRFScheduler(eta=plan.eta, s_noise=1.0)
        scheduler.set_timesteps(sigmas=table, device=device)
    else:
        scheduler = FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=False, shift=1.0, shift_terminal=None
        )
        # The one place that strips the 0.0.
        scheduler.set_timesteps(sigmas=table[:-1], device=device)
    scheduler.set_begin_index(0)
    wanted = torch.tensor(table, dtype=torch.float32)
    used = scheduler.sigmas
    if used is None or not torch.equal(used.cpu().float(), wanted):
        shown = None if used is None else used.tolist()
        raise RuntimeError(f"the scheduler changed the schedule: {shown} instead of {table}")
    return scheduler
