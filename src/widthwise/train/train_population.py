"""Train a population to its horizon: look at its members now and then, drop the dead, keep what a kill must not lose.

Everything that is decided on the way is decided at the same steps whatever the device and the number of members.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from widthwise.train.available import total_bytes
from widthwise.train.checkpoint import Checkpoint, CheckpointKeeper, Checkpoints, run_identity
from widthwise.train.compaction import Record, RecordInMemory, Revision, in_force, members_at
from widthwise.train.corpus import Corpus
from widthwise.train.host_batches import batches_for
from widthwise.train.member import Member, Outcome, Recipe
from widthwise.train.micro_batch import WHOLE, ActivationPlan
from widthwise.train.stage import Job, Stage, Start, data_seeds, free_memory
from widthwise.train.step_graph import Engine

_POLL = 20
"""Steps between looks at which members are alive; each look waits for the device."""

Progress = Callable[[int], None]
"""Called with the number of steps done."""


class Keeper(Protocol):
    """Keeps a training's state; see `CheckpointKeeper`."""

    def load(self, identity: str) -> Checkpoint | None:
        """What a run can go on from."""
        ...

    def due(self, *, done: int, steps: int, size: int) -> bool:
        """Whether it is time; see `CheckpointTimer.due`."""
        ...

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint in place of the one before."""
        ...


def train_population(
    recipe: Recipe,
    members: Sequence[Member],
    corpus: Corpus,
    *,
    device: torch.device,
    progress: Progress | None = None,
    engine: Engine | None = None,
    checkpoints: Checkpoints | None = None,
    record: Record | None = None,
    activations: ActivationPlan = WHOLE,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Outcome, ...]:
    """Train all members to the horizon and return how each ended, in the order given.

    A member that diverges (`Health`) is trained on beside the others until at most half are alive; then these go on
    alone, if that pays. With none alive training ends.

    Args:
        recipe: what the members share.
        members: at least one, each with numbers for every tensor of the model.
        corpus: must hold a batch (`Corpus.require`).
        progress: called now and then with the number of steps done.
        engine: how steps are run; by default what suits the device and the horizon (`engine_for`).
        checkpoints: where the training's state is kept, and gone on from if it is there; on a CPU with the bits of
            a training that was never stopped.
        record: who was trained from which step on, and where changes of that are written before they take effect.
            What it holds already is repeated, not decided anew.
        activations: in how many pieces a step's batch runs, and whether blocks are recomputed.
        stop: asked after every step whether to end here, with a checkpoint.

    Raises:
        KeyboardInterrupt: `stop` said so.
        ValueError: no members, numbers that are not those of the model's tensors, too short a corpus, or a batch that
            does not divide into the pieces.
        torch.OutOfMemoryError: the members do not fit on the device side by side; checkpoint and record stay.
    """
    job = Job(recipe, members, corpus, device, engine, activations)
    keeper = None if checkpoints is None else CheckpointKeeper(checkpoints)
    return train_job(job, progress=progress, keeper=keeper, record=record, stop=stop)


def train_job(
    job: Job,
    *,
    progress: Progress | None = None,
    keeper: Keeper | None = None,
    record: Record | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Outcome, ...]:
    """`train_population`, of members that keep their tensors as the job says, with whoever keeps their state."""
    recipe, members, corpus, device = job.recipe, job.members, job.corpus, job.device
    _require(recipe, members)
    corpus.require(batch=recipe.batch, context=recipe.model.context)
    identity = run_identity(recipe, members, corpus)
    found = None if keeper is None else keeper.load(identity)
    if record is None:
        everybody = tuple(range(len(members)))
        record = RecordInMemory(
            Revision(0, everybody) if found is None else Revision(found.step, found.members)
        )
    start, outcomes = _start(record, found, len(members))
    record.begin(start.done)
    batches = batches_for(recipe, corpus, data_seeds(members), device, device_bytes=total_bytes(device))
    stage = Stage(job, start, batches)
    done, steps = start.done, recipe.schedule.steps
    while done < steps:
        before, done = done, done + stage.advance()
        planned = [r for r in in_force(record.revisions()) if before < r.from_step <= done]
        stopping = stop()
        # After a stop in between, a recorded step's first call may pass a multiple.
        if done // _POLL > before // _POLL or done >= steps or planned:
            if progress is not None:
                progress(done)
            alive = stage.alive()
            if not alive or done >= steps:
                break
            going_on = _going_on(record, stage, alive, planned, done)
            if going_on != stage.members:
                outcomes |= {p: o for p, o in stage.outcomes(ended=False).items() if p not in going_on}
                start = stage.rest(going_on)
                del stage  # two stages do not fit on a device that one fills
                free_memory(device)
                stage = Stage(job, start, batches)
        elif not stopping:
            continue
        if keeper is not None and (stopping or keeper.due(done=done, steps=steps, size=stage.state_bytes)):
            keeper.save(Checkpoint(identity, done, stage.members, outcomes, stage.snapshot()))
        if stopping:
            raise KeyboardInterrupt
    outcomes |= stage.outcomes(ended=True)
    return tuple(outcomes[position] for position in range(len(members)))


def _start(record: Record, found: Checkpoint | None, members: int) -> tuple[Start, dict[int, Outcome]]:
    """Where training begins, and the outcomes of those who ended before: as the checkpoint says, or at step 0."""
    revisions = record.revisions()
    if found is not None and members_at(revisions, found.step) == found.members:
        return Start(found.step, found.members, found.tensors), dict(found.ended)
    if found is not None:
        warnings.warn(
            f"the checkpoint of step {found.step} has the members {list(found.members)}, the record "
            f"{members_at(revisions, found.step)}: it is not used; training begins at step 0",
            stacklevel=3,
        )
    if members_at(revisions, 0) is None:
        # These came from another population's checkpoint, and it is gone: from the beginning, all of them.
        warnings.warn(
            f"the checkpoint of step {revisions[0].from_step}, from which these members were to go on, is "
            "not there; training begins at step 0",
            stacklevel=3,
        )
        record.revise(Revision(0, tuple(range(members))))
    first = members_at(record.revisions(), 0)
    assert first is not None
    return Start(0, first, None), {}


def _going_on(
    record: Record, stage: Stage, alive: tuple[int, ...], planned: Sequence[Revision], done: int
) -> tuple[int, ...]:
    """Who is trained from here on; a change is recorded before it is returned."""
    if planned:
        # An accelerator need not repeat a run to the bit: whoever is alive here stays, whatever the record says.
        wanted = planned[-1].members
        going_on = tuple([p for p in wanted if p in stage.members] + [p for p in alive if p not in wanted])
        if going_on != wanted:
            record.revise(Revision(done, going_on))
        return going_on
    decided_until = in_force(record.revisions())[-1].from_step
    if done < decided_until or 2 * len(alive) > len(stage.members) or not stage.compaction_pays(len(alive)):
        return stage.members
    record.revise(Revision(done, alive))
    return alive


def _require(recipe: Recipe, members: Sequence[Member]) -> None:
    if not members:
        raise ValueError("a population needs at least one member; none were given")
    names = set(recipe.model.tensors())
    for position, member in enumerate(members):
        if set(member.numbers) != names:
            wrong = sorted(names ^ set(member.numbers))
            raise ValueError(f"member {position} and the model disagree about the tensors {wrong}")
