"""Schedules: what outputs mean at each step, coefficients, and what has no exact divergence."""

import pytest
import torch
from conftest import ddim, pixart, sd3, stable_diffusion
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
)

from conjure_st.denoisers import load
from conjure_st.denoisers.schedule import measure
from conjure_st.denoisers.stepping import make_scheduler
from conjure_st.divergence import weights
from conjure_st.process import GenerativeProcess

STEPS = 4


@pytest.mark.parametrize(
    "scheduler", [None, "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"]
)
def test_v_prediction_means_what_the_formulas_say(scheduler):
    pipeline = stable_diffusion(ddim(prediction_type="v_prediction"))
    check_meaning(load(pipeline, GenerativeProcess(scheduler=scheduler, steps=STEPS)))


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample"])
def test_noise_and_sample_prediction_mean_what_the_formulas_say(prediction_type):
    pipeline = stable_diffusion(ddim(prediction_type=prediction_type))
    check_meaning(load(pipeline, GenerativeProcess(steps=STEPS)))


def test_flow_prediction_means_what_the_formulas_say():
    denoiser = load(sd3(), GenerativeProcess(scheduler=None, steps=STEPS))
    check_meaning(denoiser)
    t = denoiser._scheduler.sigmas[:STEPS].double()
    alphas_cumprod = (1 - t) ** 2 / ((1 - t) ** 2 + t**2)
    assert denoiser.schedule.alphas_cumprod == pytest.approx(alphas_cumprod, abs=1e-6)


def check_meaning(denoiser):
    """Build the output from a known x_0 and ε, number by number, and ask for them back."""
    schedule = denoiser.schedule
    generator = torch.Generator().manual_seed(0)
    shape = (1, *denoiser.latent_shape)
    clean, noise = (torch.randn(shape, generator=generator) for _ in range(2))
    for k in range(len(schedule)):
        if schedule.prediction_type == "flow_prediction":
            t = float(denoiser._scheduler.sigmas[k])
            signal, level = 1 - t, t
        else:
            t = float(schedule.timesteps[k])
            betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
            alphas_cumprod = torch.cumprod(1 - betas, 0)
            below = alphas_cumprod[int(t)]
            # Karras-type schedulers interpolate sigma between integer timesteps.
            above = alphas_cumprod[min(int(t) + 1, 999)]
            sigmas = [float(((1 - a) / a).sqrt()) for a in (below, above)]
            sigma = sigmas[0] + (t - int(t)) * (sigmas[1] - sigmas[0])
            signal, level = (1 / (1 + sigma**2)) ** 0.5, sigma / (1 + sigma**2) ** 0.5
        seen = signal * clean + level * noise
        output = {
            "epsilon": noise,
            "sample": clean,
            "v_prediction": signal * noise - level * clean,
            "flow_prediction": noise - clean,
        }[schedule.prediction_type]
        x, row = seen / schedule.input_scale[k].float(), torch.tensor([k])
        if level < 1:  # at t = 1 a flow's clean sample is all in the velocity, and ε all in x
            assert torch.allclose(schedule.clean(output, x, row), clean, atol=2e-4)
        assert torch.allclose(schedule.epsilon(output, x, row), noise, atol=2e-4)
        other = output + 0.1 * clean
        moved = schedule.epsilon(other, x, row) - schedule.epsilon(output, x, row)
        assert torch.allclose(moved, (schedule.gain[k] * (other - output)).float(), atol=1e-4)
        assert schedule.noise[k] == pytest.approx(level, rel=1e-3)


def test_prediction_types_lead_to_the_same_state():
    generator = torch.Generator().manual_seed(0)
    after = []
    for prediction_type in ("epsilon", "sample", "v_prediction"):
        pipeline = stable_diffusion(ddim(prediction_type=prediction_type))
        denoiser = load(pipeline, GenerativeProcess(steps=STEPS))
        clean, noise = (
            torch.randn(1, *denoiser.latent_shape, generator=generator.manual_seed(s))
            for s in (1, 2)
        )
        a, s = denoiser.schedule.signal[0].float(), denoiser.schedule.noise[0].float()
        output = {"epsilon": noise, "sample": clean, "v_prediction": a * noise - s * clean}
        x = a * clean + s * noise
        after.append(denoiser.sampler([0]).step(0, output[prediction_type], x))
    assert torch.allclose(after[0], after[1], atol=1e-5)
    assert torch.allclose(after[0], after[2], atol=1e-5)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_measured_coefficients_are_ddims(eta):
    denoiser = load(stable_diffusion(), GenerativeProcess(eta=eta))
    schedule, scheduler = denoiser.schedule, denoiser._scheduler
    here = scheduler.alphas_cumprod[scheduler.timesteps].double()
    after = torch.cat([here[1:], scheduler.final_alpha_cumprod.double()[None]])
    sigma = eta * ((1 - after) / (1 - here)).sqrt() * (1 - here / after).sqrt()
    b = (1 - after - sigma**2).sqrt() - (after * (1 - here) / here).sqrt()
    assert schedule.alphas_cumprod == pytest.approx(here, rel=1e-6)
    assert schedule.a == pytest.approx((after / here).sqrt(), rel=1e-5)
    assert schedule.b == pytest.approx(b, rel=1e-4)
    assert schedule.sigma == pytest.approx(sigma, rel=1e-4, abs=1e-6)


def test_ddpm_is_ddim_with_eta_one():
    pipeline = stable_diffusion(ddim(set_alpha_to_one=True, steps_offset=0))
    one = load(pipeline, GenerativeProcess()).schedule
    other = load(pipeline, GenerativeProcess(scheduler="DDPMScheduler")).schedule
    for name in ("a", "b", "sigma"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-4, abs=1e-6)
    w = weights("girsanov", one)
    assert weights("girsanov", other) == pytest.approx(w, rel=1e-3)
    assert w[-1] == 0  # the last step adds no noise
    assert (w[:-1] > 0).all()


@pytest.mark.parametrize(
    ("scheduler", "eta", "says"),
    [
        ("DDIMScheduler", 0.0, "deterministic"),
        ("EulerDiscreteScheduler", 1.0, "deterministic"),
        ("DPMSolverMultistepScheduler", 1.0, "depends on earlier ones"),
        ("HeunDiscreteScheduler", 1.0, "depends on earlier ones"),
    ],
)
def test_girsanov_is_refused_where_it_has_no_meaning(scheduler, eta, says):
    process = GenerativeProcess(scheduler=scheduler, eta=eta, weighting="girsanov")
    schedule = load(stable_diffusion(), process).schedule
    with pytest.raises(ValueError, match=says):
        weights("girsanov", schedule)
    assert weights("uniform", schedule).isfinite().all()
    assert weights("score", schedule).isfinite().all()


@pytest.mark.parametrize(("setting", "says"), [("clip_sample", "clips"), ("thresholding", "thr")])
def test_girsanov_is_refused_to_samplers_that_clip(setting, says):
    # Not with StableDiffusionPipeline, which switches clipping off by itself.
    schedule = load(pixart(ddim(**{setting: True})), GenerativeProcess()).schedule
    with pytest.raises(ValueError, match=says):
        weights("girsanov", schedule)


def test_euler_ancestral_has_an_exact_divergence():
    process = GenerativeProcess(scheduler="EulerAncestralDiscreteScheduler")
    w = weights("girsanov", load(stable_diffusion(), process).schedule)
    assert (w[:-1] > 0).all()


def test_zero_terminal_snr_has_finite_weights():
    scheduler = ddim(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    schedule = load(stable_diffusion(scheduler), GenerativeProcess()).schedule
    assert schedule.signal[0] < 1e-3
    for weighting in ("uniform", "score", "girsanov"):
        assert weights(weighting, schedule).isfinite().all()


def test_flow_models_refuse_schedulers_that_are_not_flows():
    with pytest.raises(ValueError, match=r"'flow_prediction'.*scheduler=None"):
        load(sd3(), GenerativeProcess(scheduler="DDIMScheduler"))
    flow = load(sd3(), GenerativeProcess(scheduler="DPMSolverMultistepScheduler"))
    assert flow.schedule.prediction_type == "flow_prediction"


def test_a_flow_keeps_its_shift_under_either_name():
    own = DPMSolverMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0
    )
    process = GenerativeProcess(scheduler="FlowMatchEulerDiscreteScheduler", steps=4)
    there = make_scheduler(own, process)
    assert there.config.shift == 3.0
    back = make_scheduler(there, process.replace(scheduler="DPMSolverMultistepScheduler"))
    assert back.config.flow_shift == 3.0


def test_scheduler_settings():
    with pytest.raises(ValueError, match="'NoScheduler'"):
        load(stable_diffusion(), GenerativeProcess(scheduler="NoScheduler"))
    trailing = load(stable_diffusion(), GenerativeProcess(timestep_spacing="trailing"))
    assert trailing.schedule.timesteps[0] == 999
    with pytest.raises(ValueError, match="timestep_spacing=None"):
        load(sd3(), GenerativeProcess(scheduler=None, timestep_spacing="trailing"))


def test_a_scheduler_without_the_setting_does_not_make_ddim_clip():
    """PixArt ships one; DDIM's own default would clip latents at every step."""
    made = make_scheduler(DPMSolverMultistepScheduler(), GenerativeProcess())
    assert type(made).__name__ == "DDIMScheduler"
    assert made.config.clip_sample is False


@pytest.mark.parametrize("steps", [5, 8, 10, 20])
@pytest.mark.parametrize("scheduler", ["auto", "DDPMScheduler"])
def test_the_network_is_told_the_noise_that_its_states_have(steps, scheduler):
    """A PixArt says "linspace", and DDIM's step leads to t - 1000//T all the same."""
    own = DPMSolverMultistepScheduler(timestep_spacing="linspace")
    made = make_scheduler(own, GenerativeProcess(scheduler=scheduler, steps=steps))
    schedule = measure(made, 1.0, "epsilon")
    assert schedule.timesteps[0] == 999
    levels = schedule.alphas_cumprod
    assert schedule.a[:-1] == pytest.approx((levels[1:] / levels[:-1]).sqrt(), rel=1e-4)


def test_linspace_is_refused_where_steps_are_of_equal_strides():
    own, spaced = ddim(), GenerativeProcess(timestep_spacing="linspace")
    with pytest.raises(ValueError, match=r'goes by equal strides.*"trailing"'):
        make_scheduler(own, spaced)
    made = make_scheduler(own, spaced.replace(scheduler="EulerAncestralDiscreteScheduler"))
    assert made.config.timestep_spacing == "linspace"


@pytest.mark.parametrize(("own", "start"), [(PNDMScheduler, 901), (DDIMScheduler, 901)])
def test_what_a_pipeline_mends_in_its_scheduler_stays_mended(own, start):
    """StableDiffusionPipeline sets steps_offset=1 and clip_sample=False where neither is said."""
    scheduler = own(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    denoiser = load(stable_diffusion(scheduler), GenerativeProcess())
    assert denoiser.schedule.timesteps[0] == start
    assert denoiser._scheduler.config.clip_sample is False


def test_edm_s_noise_levels_are_refused():
    with pytest.raises(ValueError, match="EDMEulerScheduler has no alphas_cumprod"):
        make_scheduler(EDMEulerScheduler(), GenerativeProcess())


@pytest.mark.parametrize("steps", range(1, 31))
def test_ancestral_steps_are_finite_however_little_signal_the_first_state_has(steps):
    """In float32 the root of 1 - ᾱ' - σ² is NaN at T = 5."""
    silent_start = ddim(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        timestep_spacing="trailing",
        set_alpha_to_one=True,
    )
    schedule = measure(make_scheduler(silent_start, GenerativeProcess(steps=steps)), 1.0, "sample")
    assert not schedule.obstacle
    assert bool(torch.stack([schedule.a, schedule.b, schedule.sigma]).isfinite().all())
    assert bool((schedule.sigma[:-1] > 0).all())


@pytest.mark.parametrize("steps", range(1, 31))
def test_ancestral_steps_are_finite_where_the_first_state_has_no_signal(steps):
    """1 - ᾱ' - σ² is rounding alone there, of either sign in float64 as well."""
    silent = ddim(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    made = make_scheduler(silent, GenerativeProcess(steps=steps))
    schedule = measure(made, 1.0, "v_prediction")
    assert bool(torch.stack([schedule.a, schedule.b, schedule.sigma]).isfinite().all())
    assert schedule.signal[0] < 1e-5


def test_a_step_that_gives_nan_is_named(monkeypatch):
    scheduler = make_scheduler(ddim(), GenerativeProcess(steps=3))
    step = scheduler.step

    def broken(output, t, *rest, **settings):
        nan = torch.nan if t == scheduler.timesteps[1] else 1.0
        return (step(output, t, *rest, **settings)[0] * nan,)

    monkeypatch.setattr(scheduler, "step", broken)
    monkeypatch.setattr("conjure_st.denoisers.schedule.deepcopy", lambda same: same)
    with pytest.raises(ValueError, match="Step 1 of DDIMScheduler with 3 steps gives NaN"):
        measure(scheduler, 1.0, "epsilon")


def test_a_stochastic_flow_has_an_exact_divergence():
    scheduler = FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)
    schedule = load(sd3(scheduler), GenerativeProcess(scheduler=None)).schedule
    assert schedule.sigma[:-1].min() > 0 and schedule.sigma[-1] == 0
    assert (weights("girsanov", schedule)[:-1] > 0).all()
    # the clean state, and new noise of the next level: x' = (1 - t') (x - t v) + t' z
    assert schedule.sigma[:-1] == pytest.approx(schedule.noise[1:], abs=1e-5)
    assert schedule.a == pytest.approx(1 - schedule.sigma, abs=1e-5)
    assert schedule.b == pytest.approx(-schedule.a * schedule.noise, abs=1e-5)


def test_more_steps_than_there_are_noise_levels_are_refused():
    with pytest.raises(ValueError, match=r"begin at timestep 1000.*up to 999.*fewer steps"):
        load(stable_diffusion(), GenerativeProcess(steps=1000))


def test_measuring_a_schedule_leaves_everybodys_chance_alone(monkeypatch):
    def seeded(seed):
        raise AssertionError("torch.manual_seed seeds all devices")

    pipeline = stable_diffusion()
    monkeypatch.setattr(torch, "manual_seed", seeded)
    before = torch.get_rng_state()
    load(pipeline, GenerativeProcess())
    assert torch.equal(torch.get_rng_state(), before)
