"""Running a plan: open this file first.

For each stage: read its data, build the model, adopt the weights it starts from, freeze, train, prove that what
was frozen did not move, and hand the selected checkpoint on.
"""

from __future__ import annotations

from contextlib import closing, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from segue import models, stages
from segue.console import Console
from segue.data.audit import once
from segue.data.audit.findings import SIDED
from segue.data.dataset import DataSet, read_dataset, require_masks
from segue.data.samples import Samples
from segue.errors import CheckpointError, DataError, HandoverError, Interrupted, PlanError, SegueError
from segue.evaluation.coco_metrics import COCO_COUNTED, detections_needed
from segue.inference.predict import find_checkpoint
from segue.models.parts.chain import Chain, span
from segue.models.weights import Weights
from segue.outcome import SAVING, write_outcome, write_report
from segue.plan import Model, Plan, StagePlan
from segue.run_folder import REPORT, RunFolder, key_of, write_json
from segue.structures.target import collate
from segue.training import checkpoint, disk, processes, saving, single_file
from segue.training.estimate import Peak
from segue.training.freeze import FrozenProof
from segue.training.handover import Report, adopt
from segue.training.journal import Journal, read_events
from segue.training.learner import Learner
from segue.training.signals import stopping_at_once
from segue.training.stage import Stage, fit


@stopping_at_once()
def run_plan(plan: Plan, console: Console | None = None, only: str | None = None) -> Path:
    """Run every stage of a plan that is not finished yet; returns the run's folder.

    The same plan on the same data goes on where its last run stopped, bit for bit. only: the last stage to run.

    Raises:
        SegueError: if something is wrong with the plan, the data, a checkpoint or the training.
        Interrupted: on SIGTERM or SIGINT; what was done is saved.
    """
    device = stages.pick_device(plan.device)
    processes.start(device)
    device = processes.local_device(device)
    console = console or Console()
    if only is not None and plan.stage(only) is None:
        raise PlanError("stage", f"no stage {only!r}", "one of " + ", ".join(s.name for s in plan.stages))
    data = read_all_data(plan, console, only)
    run = RunFolder.open(plan, [data[s.name].manifest if s.name in data else "" for s in plan.stages])
    console.say(f"run {run.path}" + (", going on" if run.resumed else ""))
    for stage in plan.stages:
        run_stage(run, stage, data[stage.name], device, console)
        if processes.rank() == 0:
            write_report(run, data)
        if stage.name == only:
            break
    console.say(f"report: {run.path / REPORT}")
    console.say(f"next: segue predict {run.path} IMAGES --out FOLDER")
    return run.path


def read_all_data(plan: Plan, console: Console, only: str | None = None) -> dict[str, DataSet]:
    """Every stage's data, read and audited (each image decoded, once for the same bytes), before anything is trained.

    only: the last stage that will be trained. Data of later ones may still have to be made, with its help.

    Raises:
        DataError: naming the first thing that is wrong.
    """
    read: dict[str, DataSet] = {}
    audits: dict[str, dict[str, str]] = {}
    for number, stage in enumerate(plan.stages):
        try:
            read[stage.name] = _data_of(plan, stage, read, audits, console)
        except DataError as error:
            if only in read:
                console.say(f"{stage.name}: its data are not ready ({error.where}: {error.found})")
                break
            before = f"segue run with --stage {plan.stages[number - 1].name} trains what comes before it"
            run = "; ".join(filter(None, [error.run, before if number else ""]))
            raise DataError(error.where, error.found, error.expected, run) from None
    if processes.rank() == 0:
        once.keep(plan.runs, audits)
    return read


def _data_of(
    plan: Plan, stage: StagePlan, read: dict[str, DataSet], audits: dict[str, dict[str, str]], console: Console
) -> DataSet:
    """One stage's data; that of a stage before it, if both have the same."""
    settings = plan.data_of(stage)
    same = [s.name for s in plan.stages if s.name in read and plan.data_of(s) == settings]
    if same:
        data = read[same[0]]
    else:
        data = read_dataset(settings)
        with console.progress("looking at the data") as tick:
            run = f"segue check {settings.root or ''}".strip()
            said = audits[data.manifest] = once.audited(data, settings.channels, plan.runs, tick, run)
        for note in (*data.notes, *(line for kind, line in said.items() if kind != SIDED or plan.flips(settings))):
            console.say(f"data: {note}")
        counted = detections_needed(data.most_objects)
        if counted != COCO_COUNTED:
            console.say(f"data: {counted} detections of an image count: one has {data.most_objects} objects")
    if stage.with_masks:
        require_masks(data.splits)
    return data


def run_stage(run: RunFolder, stage: StagePlan, data: DataSet, device: str, console: Console) -> None:
    """Finish one stage, from its beginning or from where it stopped; nothing to do if it is complete."""
    plan = run.plan
    weights = start_weights(run, stage)
    parent = weights.came_from.get("weights_sha256", "") if weights is not None else ""
    key = key_of(plan.identity(stage), parent, data.manifest)
    if run.finished(stage, key):
        console.say(f"{stage.name}: complete, kept ({run.selected(stage)})")
        return
    run.begin(stage, key)
    peak = Peak(device)
    try:
        train(run, stage, data, weights, device, console)
    except Interrupted:
        run.end(stage, "interrupted", peak.bytes())
        raise
    except (SegueError, OSError) as error:
        with suppress(OSError):  # a full disk takes no note of it either
            run.end(stage, "failed", peak.bytes())
        if isinstance(error, OSError) and error.errno in disk.FAILING:
            raise disk.full(run.stage_folder(stage), "could not be written", error) from None
        raise
    run.end(stage, "complete", peak.bytes())


def start_weights(run: RunFolder, stage: StagePlan) -> Weights | None:
    """What the stage starts from: an earlier stage's selected checkpoint, weights of the user's, or nothing.

    Raises:
        HandoverError: if the earlier stage is not complete.
        CheckpointError: if the weights cannot be used.
    """
    start = run.plan.start_of(stage)
    if start is None:
        return None
    earlier = run.plan.stage(start)
    if earlier is not None:
        return checkpoint.as_weights(run.complete_parent(earlier))
    return open_weights(start, run.plan.model)


def open_weights(source: str, model: Model) -> Weights:
    """Weights from a segue checkpoint, of a stage or of a run, or from any format the family reads.

    Raises:
        HandoverError: if the stage that wrote them did not finish, or nothing says which class a row is.
    """
    path = Path(source)
    if path.is_dir() and not (path / "config.json").is_file():  # of transformers' or timm's
        weights = checkpoint.as_weights(find_checkpoint(path))
        if weights.card is not None and not weights.card["complete"]:
            found = f"stage {weights.card['stage']} was not finished when it was written"
            raise HandoverError(source, found, "the selected checkpoint of a finished stage", "its plan to the end")
    else:
        weights = single_file.as_weights(path) or models.get(model.family).import_weights(source)
    return _with_names(weights, model.weights_classes)


def _with_names(weights: Weights, names: tuple[str, ...]) -> Weights:
    """Class rows by the names the plan gives them, which win over COCO's but not over those in a card."""
    rows, own = len(weights.classes), any(weights.classes)
    if rows and len(names) != rows and (names or not own):
        found = (
            f"{rows} class rows" + ("" if own else " without names") + (f", {len(names)} in the plan" if names else "")
        )
        raise HandoverError(weights.source, found, f"model.weights_classes: {rows} names, in the order of the rows")
    if names and weights.card is not None and tuple(weights.classes) != names:
        found = "other class names: " + ", ".join(map(str, weights.classes))
        raise HandoverError(weights.source, found, "no model.weights_classes beside them")
    return replace(weights, classes=names) if names and rows else weights


def train(
    run: RunFolder, stage: StagePlan, data: DataSet, weights: Weights | None, device: str, console: Console
) -> None:
    """One stage: build, adopt, freeze, resume, fit, prove, and write down what came out."""
    plan, folder = run.plan, run.stage_folder(stage)
    begun = begun_options(folder / "last")
    chain = stages.build_model(plan, stage, data, weights, device, console.say, begun)
    if report := hand_over(chain, weights, stage):
        console.say(f"{stage.name}: {report}")
    chain.to(device)
    proof = FrozenProof.of(chain)
    learner = stages.new_learner(plan, stage, chain, device)
    resume(learner, stage, folder / "last", console)
    proof = proof if chain.frozen_to == proof.position else FrozenProof.of(chain)  # it went on after a thaw
    stages.refuse_late_thaws(stage, data)
    samples = stages.training_samples(plan, stage, data, learner)
    cached = stages.cached_samples(samples, stage, learner, data.manifest, folder, console)
    note_saving(learner, samples, folder, console)
    done = learner.progress
    journal = Journal(folder, done.steps, done.evaluated, plan.wandb) if processes.rank() == 0 else None

    ours = Stage(
        learner=learner,
        training=stage,
        steps_per_epoch=-(-len(samples) // stage.images_per_step),
        batches=stages.step_batches(samples, cached, stage, learner.device),
        evaluate=stages.evaluator(data, stage, learner),
        metric=stage.metric,
        folder=folder,
        card=stages.card_of(plan, stage, data, chain, weights),
        journal=journal,
        proof=proof,
        thaw=stage.thaw,
        say=console.say,
        images=[record.image for record in samples.records],
    )
    with closing(journal) if journal is not None else nullcontext(), console.stage(ours):
        fit(ours)
    thaws = {event["step"]: f"until step {event['step']} {event['proof']}" for event in read_events(folder, "thaw")}
    nothing = "then everything learned" if thaws else "nothing frozen"
    proof_line = ours.proof.check(chain) if ours.proof.label else nothing
    console.say(f"{stage.name}: {proof_line}")
    write_outcome(folder, stage, data, learner, "; ".join([*thaws.values(), proof_line]), console)


def hand_over(chain: Chain, weights: Weights | None, stage: StagePlan) -> Report | None:
    """Adopt the weights a stage starts from, if any, and freeze what it freezes.

    Raises:
        HandoverError: if weights and model differ in what the stage does not declare.
        PlanError: if new, random weights would be frozen, or a thaw would thaw nothing.
    """
    if weights is None and stage.freeze:
        raise PlanError(f"stage {stage.name}", "would freeze new, random weights", "model.weights or start")
    report = adopt(chain, weights, stage.fresh, stage.drop) if weights is not None else None
    chain.freeze_through(stage.freeze)
    for epoch, thaw in sorted(stage.thaw.items()):
        frozen = len(chain.frozen_tensors())
        chain.freeze_to(span(thaw.part, chain.order)[0])
        if len(chain.frozen_tensors()) >= frozen:
            found = f"{thaw.part} learns before that: the backbone has too few blocks for so many thaws"
            raise PlanError(f"stage {stage.name}: thaw: {epoch}", found, "fewer")
    chain.freeze_through(stage.freeze)
    return report


def note_saving(learner: Learner, samples: Samples, folder: Path, console: Console) -> None:
    """At the start of a stage, measure what freezing saves on this machine, say it, and leave it for the report."""
    if learner.progress.steps or not learner.chain.frozen_label():
        return
    if processes.rank() == 0:
        first = [samples[(0, i)] for i in range(min(len(samples), saving.MOST_IMAGES))]
        found = saving.measure(learner, collate(first))
        if found is not None:
            write_json(folder / SAVING, found.as_dict())
            console.say(str(found))
    processes.barrier()


def begun_options(last: Path) -> dict[str, Any] | None:
    """Options of the model this stage has begun with, perhaps on another device, which would suggest others."""
    try:
        return checkpoint.read_card(last).spec.options
    except CheckpointError:
        return None


def resume(learner: Learner, stage: StagePlan, last: Path, console: Console) -> None:
    """Go on from the newest whole checkpoint of this stage, if there is one.

    Raises:
        CheckpointError: if it is another stage's or another model's.
    """
    found, said = checkpoint.recover(last) if processes.rank() == 0 else (None, [])
    for line in said:
        console.say(line)
    if not processes.anywhere(found is not None):  # waits for the first process, which may have to move folders
        return
    card, tensors = checkpoint.read(last)
    specs = [spec.model_dump(mode="json") for spec in (card.spec, learner.chain.spec)]  # a card's tuples are lists
    if card.stage != stage.name or specs[0] != specs[1]:
        found = f"of stage {card.stage}, a {card.spec.family} {card.spec.size} model"
        raise CheckpointError(last, found, f"what {stage.name} has saved", "remove it, and the same command again")
    learner.chain.load_state_dict(tensors)
    learner.load_state_dict(checkpoint.read_state(last))
    if stage.images_per_forward is not None:
        learner.progress.images_per_forward = stage.images_per_forward
    console.say(f"{stage.name}: going on from {last} at epoch {card.epoch + 1}, step {card.step}")
