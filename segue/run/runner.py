"""Running a plan: open this file first.

read data      every stage's, before anything is trained      run/data.py, run/audit_cache.py
build          model, learner, samples, cached outputs        run/spec.py, build.py, batches.py
hand over      weights of the stage before, or of a file      run/opening.py, training/handover.py
freeze         what does not learn, with a proof of it        training/freeze.py
resume         where a stopped run was saved                  training/resume.py
fit            epochs, evaluations, thaws, checkpoints        training/fit.py, loop.py
prove          that what was frozen did not move              training/freeze.py
write down     figures, predictions, the run's report         run/results.py
"""

from __future__ import annotations

from contextlib import closing, nullcontext
from pathlib import Path

from segue.data.dataset import DataSet
from segue.errors import PlanError
from segue.models.weights import ModelWeights
from segue.plan.schema import Plan, StagePlan
from segue.run import batches, build
from segue.run.console import Console
from segue.run.context import StageContext
from segue.run.data import read_all_data
from segue.run.folder import REPORT, RunFolder, key_of
from segue.run.opening import start_weights
from segue.run.results import finish_stage, proof_of, write_report
from segue.training import freeze_benefit, processes
from segue.training.devices import pick_device
from segue.training.fit import fit
from segue.training.freeze import FrozenProof
from segue.training.journal import Journal
from segue.training.resume import model_options, resume
from segue.training.signals import stopping_at_once
from segue.training.stage import Stage


@stopping_at_once()
def run_plan(plan: Plan, console: Console | None = None, only: str | None = None) -> Path:
    """Run every stage of a plan that is not finished yet; returns the run's folder.

    The same plan on the same data goes on where its last run stopped, bit for bit. only: the last
    stage to run.

    Raises:
        SegueError: if something is wrong with the plan, the data, a checkpoint or the training.
        Interrupted: on SIGTERM or SIGINT; what was done is saved.
    """
    device = pick_device(plan.device)
    processes.start(device)
    device = processes.local_device(device)
    console = console or Console()
    if only is not None and plan.stage(only) is None:
        names = ", ".join(stage.name for stage in plan.stages)
        raise PlanError("stage", f"no stage {only!r}", f"one of {names}")
    data = read_all_data(plan, console, only)
    manifests = [data[s.name].manifest if s.name in data else "" for s in plan.stages]
    run = RunFolder.open(plan, manifests)
    console.say(f"run {run.path}" + (", resuming" if run.resumed else ""))
    for stage in plan.stages:
        run_stage(run, stage, data[stage.name], device, console)
        if processes.rank() == 0:
            write_report(run, data)
        if stage.name == only:
            break
    console.say(f"report: {run.path / REPORT}")
    console.say(f"next: segue predict {run.path} IMAGES --out FOLDER")
    return run.path


def run_stage(
    run: RunFolder, stage: StagePlan, data: DataSet, device: str, console: Console
) -> None:
    """Finish one stage, from its beginning or from where it stopped; nothing to do if it is
    complete.
    """
    weights = start_weights(run, stage)
    parent = weights.sha256 if weights is not None else ""
    key = key_of(run.plan.identity(stage), parent, data.manifest)
    if run.finished(stage, key):
        console.say(f"{stage.name}: complete, kept ({run.selected(stage)})")
        return
    with run.attempt(stage, key, device):
        folder = run.stage_folder(stage)
        train(StageContext(run.plan, stage, data, device, folder, console.say), weights, console)


def train(context: StageContext, weights: ModelWeights | None, console: Console) -> None:
    """One stage: build, adopt, freeze, resume, fit, prove, and write down what came out."""
    chain = build.build_model(context, weights, model_options(context.last))
    if report := build.hand_over(context, chain, weights):
        context.report(str(report))
    chain.to(context.device)
    proof = FrozenProof.of(chain)
    learner = build.new_learner(context.plan, context.stage, chain, context.device)
    resume(learner, context.name, context.last, context.stage.images_per_forward, context.say)
    if chain.frozen_to != proof.position:  # it goes on behind a thaw
        proof = FrozenProof.of(chain)
    build.refuse_late_thaws(context.stage, context.data)
    samples = batches.training_samples(context, learner)
    cached = batches.cached_samples(context, samples, learner, console.progress)
    freeze_benefit.measure_once(learner, samples, context.folder, context.say)
    done, journal = learner.progress, None
    if processes.rank() == 0:
        journal = Journal(context.folder, done.steps, done.evaluated, context.plan.wandb)
    with (
        closing(journal) if journal is not None else nullcontext(),
        console.stage(context.folder.name) as reporter,
    ):
        stage = Stage(
            learner=learner,
            training=context.stage,
            steps_per_epoch=context.steps_per_epoch,
            batches=batches.step_batches(context, samples, cached),
            evaluate=build.evaluator(context, learner),
            metric=context.stage.metric,
            folder=context.folder,
            card=build.card_of(context, chain, weights),
            journal=journal,
            proof=proof,
            thaw=context.stage.thaw,
            reporter=reporter,
            images=[record.image for record in samples.records],
        )
        fit(stage)
    finish_stage(context, learner, proof_of(context, stage))
