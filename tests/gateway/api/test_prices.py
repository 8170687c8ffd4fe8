"""What costs a GPU's time costs credits, and what is free of charge has an end."""

from gateway.enhancing import ENHANCED_RATE
from tests.gateway.api.site import COST, refused


def price(client, **form):
    quote = client.post("/api/generations/estimate", json=form).json()
    assert sum(line["credits"] for line in quote["breakdown"]["lines"]) == quote["credits"]
    return quote["credits"]


def test_steps_beyond_the_usual_ones_cost_in_proportion(site, client):
    usual = site.core.front.offer().models[0].mode("pro").steps
    plain = price(client, mode="pro")
    assert price(client, mode="pro", num_inference_steps=usual) == plain
    assert price(client, mode="pro", num_inference_steps=1) == plain
    assert price(client, mode="pro", num_inference_steps=2 * usual) == 2 * plain
    assert price(client, mode="pro", num_inference_steps=usual + 1) > plain
    held = site.create(mode="pro", num_inference_steps=2 * usual)["cost"]["credits"]
    assert held == 2 * plain


def test_an_option_costs_its_share_of_all_steps(site, client):
    usual = site.core.front.offer().models[0].mode("pro").steps
    many = {"mode": "pro", "num_inference_steps": 2 * usual}
    plain, more = price(client, **many), price(client, temporal_upscaler=True, **many)
    assert more == plain + plain // 4


def test_a_single_pass_at_full_size_costs_more(site, client):
    assert price(client, spatial_upscaler=True) == price(client) == COST
    assert price(client, spatial_upscaler=False) == 2 * COST
    assert client.get("/api/models").json()["surcharges"]["single_pass"] == 100


def test_a_prompt_is_enriched_for_those_who_have_credits(site):
    site.runpod.enhanced = "{prompt}, at night"
    _, key = site.newcomer("Bob", credits=0)
    poor = site.browser(authorization=f"Bearer {key}")
    answer = poor.post("/api/enhance-prompt", json={"prompt": "rain"})
    error = refused(answer, 402, "insufficient_funds_error")
    assert (error["required"], error["available"]) == (1, 0)


def test_prompts_are_enriched_at_a_rate_of_their_own(site, client):
    site.runpod.enhanced = "{prompt}, at night"

    def ask():
        return client.post("/api/enhance-prompt", json={"prompt": "rain"})

    for _ in range(ENHANCED_RATE.burst):
        assert ask().status_code == 200
    limited = ask()
    refused(limited, 429, "rate_limit_error")
    site.clock.move(int(limited.headers["retry-after"]))
    assert ask().status_code == 200
