"""Studies on a Ray cluster: what one process would have trained, when a worker is killed in the middle of it too."""

import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from study_example import command, one_thread, snapshot, tiny_source, tiny_text, write_corpus
from study_kills import PATIENCE, attempts, kill_until_done
from test_study_kills import COMMAND, ONE_THREAD, check_history, results
from test_study_own import source
from test_study_processes import SPEC
from widthwise.study import Local, Ray, RunState, TrainingError, run_study
from widthwise.study.checkpoints import shared_marker
from widthwise.study.executor import Executor
from widthwise.study.stop import stop_on_signals

MARK = "WIDTHWISE_TEST_CLUSTER"


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A cluster of this host with two cores, on which two populations train at once; its processes carry a mark."""
    ray = pytest.importorskip("ray")
    mark = secrets.token_hex(8)
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # of Ray's own
        patch.setenv(MARK, mark)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv(
            "PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        )
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        try:
            yield mark
        finally:
            ray.shutdown()


def training(mark: str) -> list[int]:
    """The cluster's processes that train a population now."""
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        try:
            if b"ray::_train" in (folder / "cmdline").read_bytes():
                environment = (folder / "environ").read_bytes()
                found += [int(folder.name)] if f"{MARK}={mark}".encode() in environment else []
        except OSError:
            continue
    return sorted(found)


def run(folder: Path, executor: Executor, listener: Any = None, **changes: Any) -> Path:
    folder.mkdir()
    store = folder / "s.sqlite"
    with one_thread():
        run_study(
            tiny_source(write_corpus(folder.parent), **{**SPEC, **changes}),
            store,
            device="cpu",
            executor=executor,
            population_size=4,
            listener=listener,
            checkpoint_seconds=0.0,
        )
    return store


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_node_joins_and_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One core; then two, of which the second goes while a population trains on it.

    The first of these tests: the others share a cluster that stays.
    """
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    long = {"training": {"steps": 4000, "batch": 2}, "epochs": 7}
    whole = run(tmp_path / "local", Local(), **long)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes: list[Any] = []
    widest: list[int] = []

    def listen(state: RunState) -> None:
        widest.append(len(state.at_work))
        if state.step and not nodes:
            nodes.append(cluster.add_node(num_cpus=1))
        if len(nodes) == 1 and sum(p.step > 0 for p in state.at_work) == 2:
            cluster.remove_node(nodes[0])
            nodes.append(None)

    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        with pytest.warns(UserWarning, match=r"population \d .*: its worker was lost"):
            store = run(tmp_path / "ray", Ray(), listen, **long)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert max(widest) == 2
    assert results(store) == results(whole)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_killed_worker_changes_nothing(cluster: str, tmp_path: Path) -> None:
    """One of two, between its population's steps; compaction is recorded on the way.

    The steps last seconds: what is told of a population in milliseconds of training may be heard when it has ended.
    """
    long = {"training": {"steps": 1000, "batch": 2}, "epochs": 2}
    whole = run(tmp_path / "local", Local(), **long)
    states: list[RunState] = []
    killed: list[int] = []

    def kill(state: RunState) -> None:
        if not killed and 0 < state.step < state.steps and (found := training(cluster)):
            os.kill(found[0], signal.SIGKILL)
            killed.append(found[0])
        states.append(state)

    with pytest.warns(UserWarning, match=r"population \d \(trials .*\): its worker was lost \(\w+Error"):
        store = run(tmp_path / "ray", Ray(), kill, **long)
    assert max(len(state.at_work) for state in states) == 2
    assert results(store) == results(whole)
    assert states[-1].trials_done == states[-1].trials == 16
    assert list(snapshot(store.parent)) == ["s.sqlite"]
    with closing(sqlite3.connect(store)) as connection:
        assert connection.execute("SELECT count(*) FROM population WHERE host IS NULL").fetchone() == (0,)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_an_interrupted_run_goes_on(cluster: str, tmp_path: Path) -> None:
    def stop(state: RunState) -> None:
        if state.step:
            raise KeyboardInterrupt

    whole = run(tmp_path / "local", Local())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "ray", Ray(), stop)
    store = tmp_path / "ray" / "s.sqlite"
    with one_thread():
        run_study(tiny_source(write_corpus(tmp_path), **SPEC), store, device="cpu", executor=Ray())
    assert results(store) == results(whole)
    assert list(snapshot(store.parent)) == ["s.sqlite"]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_users_own_function_and_its_errors(cluster: str, tmp_path: Path) -> None:
    here, there = (
        run_study(source(widths=[16], seeds=[0]), tmp_path / name, device="cpu", executor=executor)
        for name, executor in (("a.sqlite", Local()), ("b.sqlite", Ray()))
    )
    assert here.trials == there.trials


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_an_error_on_the_cluster_is_one_here(cluster: str) -> None:
    with Ray().open("cpu") as crew:
        assert crew.call(int, "7") == 7
        with pytest.raises(ValueError, match=r"^invalid literal for int"):
            crew.call(int, "seven")
        with pytest.raises(TrainingError, match=r"(?s)^ZeroDivisionError.*Traceback"):
            crew.call(divmod, 1, 0)
        assert crew.sharing == 2
    with pytest.raises(ValueError, match="no node of the Ray cluster has a GPU now"), Ray().open("cuda"):
        pass


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_killed_writer_loses_nothing(cluster: str, tmp_path: Path) -> None:
    """The command is killed twice within its run; the cluster stays, and trains nothing for a writer that is gone."""
    import ray

    (tmp_path / "spec.yaml").write_text(
        tiny_text(write_corpus(tmp_path), training={"steps": 800, "batch": 2}, epochs=2)
    )
    address = ray.get_runtime_context().gcs_address
    options = ("--executor", "ray", "--address", address)

    def start(arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as file:
            return subprocess.Popen(
                [*COMMAND, *arguments], stdout=file, stderr=file, env={**ONE_THREAD, "RAY_AUTH_MODE": "token"}
            )

    (tmp_path / "whole").mkdir()
    began = time.monotonic()
    arguments = attempts(tmp_path, tmp_path / "whole" / "s.sqlite", options)
    assert start(arguments, tmp_path / "whole.txt").wait(PATIENCE) == 0, (tmp_path / "whole.txt").read_text()
    seconds = time.monotonic() - began
    found = kill_until_done(tmp_path, start, [0.6 * seconds, 0.8 * seconds], options)["stores"]
    whole = results(tmp_path / "whole" / "s.sqlite")
    for store, seen in found.items():
        check_history(Path(store), seen, whole, in_order=False)
    ends = time.monotonic() + PATIENCE
    while training(cluster) and time.monotonic() < ends:
        time.sleep(0.1)
    assert training(cluster) == []


def test_without_ray_the_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    result = command("study", "run", "quickstart", "--store", tmp_path / "s.sqlite", "--executor", "ray")
    assert result.exit_code == 2
    assert "executor ray needs Ray: pip install 'widthwise[ray]'" in result.stderr
    assert snapshot(tmp_path) == {}


def test_an_address_without_its_executor_is_refused(tmp_path: Path) -> None:
    result = command("study", "run", "quickstart", "--store", tmp_path / "s.sqlite", "--address", "auto")
    assert result.exit_code == 2
    assert "--address auto needs --executor ray" in result.stderr


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "[::1]:{}"])
def test_an_address_at_which_nobody_listens_is_refused_at_once(tmp_path: Path, form: str) -> None:
    """Ray itself would go on asking for more than five minutes."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = form.format(taken.getsockname()[1])  # free again when it is tried
    store = tmp_path / "s.sqlite"
    result = command(
        "study", "run", "quickstart", "--store", store, "--executor", "ray", "--address", address
    )
    assert result.exit_code == 2
    assert f"no Ray cluster answers at {address!r}: " in result.stderr
    assert "give the address that `ray start` printed" in result.stderr
    assert snapshot(tmp_path) == {}


def test_sigterm_stays_the_runs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray takes it when it starts, for an exit code of its own; a run that SLURM stops says how to go on."""
    ray = pytest.importorskip("ray")

    def init(**options: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "cluster_resources", dict)
    with stop_on_signals():
        before = signal.getsignal(signal.SIGTERM)
        with Ray().open("cpu"):
            assert signal.getsignal(signal.SIGTERM) is before


def test_a_shared_folder_is_known_by_its_marker(tmp_path: Path) -> None:
    with shared_marker(tmp_path / "s.sqlite") as marker:
        assert marker.exists()
        assert marker.parent.name == "s.sqlite.checkpoints"
    assert not marker.exists()
    with shared_marker(tmp_path / "nowhere" / "s.sqlite") as marker:
        assert not marker.exists()
