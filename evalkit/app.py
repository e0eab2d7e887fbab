"""The command line: compose a config with Hydra, check it, run, save. Hydra is known only here.

Exit codes: 0 done, 1 a bug (traceback) or a task's alarm, 2 the user's mistake, 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from evalkit import complaints
from evalkit.assembly import Parts
from evalkit.choices import choice_files, data_folder, listed
from evalkit.errors import Alarm, ConfigError, EvalkitError
from evalkit.progress import stderr
from evalkit.settings import PartNames, TrackingSettings, checked
from evalkit.tasks import Job, task_module
from evalkit.tracking.store import parse_address

_OF_THE_EXPERIMENT = ("sweep", "measures", "gains", "bootstrap", "significance")


def main() -> None:
    """Run the command line and exit."""
    # Hydra would print errors its own way and exit with 1; they are explained below instead.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv[1:] = complaints.readable_line(sys.argv[1:])
    store_experiments()
    OmegaConf.register_new_resolver("evalkit.choices", listed, replace=True)
    run = hydra.main(version_base="1.3", config_path=str(data_folder("conf")), config_name="config")
    alarmed: list[bool] = []

    def watched(config: DictConfig) -> None:
        alarmed.append(job(config))

    try:
        run(watched)()
    except (HydraException, OmegaConfBaseException, ValueError, OSError) as error:
        if complaints.came_out_of(job, error):
            raise
        _explain(error)
    except KeyboardInterrupt:
        stderr.print("Interrupted. Scored pairs are kept: the same command goes on from there.")
        sys.exit(130)
    if any(alarmed):
        sys.exit(Alarm.exit_code)


def _explain(error: BaseException) -> NoReturn:
    """One line on what Hydra or OmegaConf refused, and the end."""
    message = f"output folder cannot be written ({error}); choose another: hydra.run.dir=DIR"
    if isinstance(error, HydraException) or not isinstance(error, OSError):
        message = complaints.explained(complaints.whole_message(error), known_keys, choice_files)
    complaints.complain(message)


def store_experiments() -> None:
    """Offer experiments/NAME.yaml as +experiment=NAME."""
    for name, path in choice_files("experiment").items():
        node = OmegaConf.load(path)
        ConfigStore.instance().store(group="experiment", name=name, node=node, package="_global_")


def job(config: DictConfig) -> bool:
    """One Hydra job; whether it ended in an Alarm, which does not keep the next jobs from running.

    The user's mistakes end the program here: Hydra would print its own line about them.
    """
    quiet_libraries()
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        perform(config, folder)
    except Alarm as error:
        complaints.say(str(error))
        return True
    except EvalkitError as error:
        complaints.complain(str(error), error.exit_code)
    except OmegaConfBaseException as error:
        _explain(error)
    finally:
        _remove_empty(folder)
    return False


def perform(config: DictConfig, folder: Path) -> None:
    """The task that the config names."""
    keys = check_sections(config)
    module = task_module(config.task)
    settings = checked(module.Settings, {key: plain(config[key]) for key in keys}, "")
    tracking = checked(TrackingSettings, _without_password(config.tracking), "tracking")
    module.perform(
        settings,
        Job(
            folder=folder,
            tracking=tracking,
            parts=lambda: build(config, tracking),
            component=lambda key: _instance(OmegaConf.select(config, key), key),
            config=_saved(config, tracking),
        ),
    )


def check_sections(config: DictConfig) -> list[str]:
    """The keys that belong to the task alone.

    ConfigError for a top-level key that means nothing, added by a '+', or one taken away.
    """
    own = _sections(data_folder("conf") / "config.yaml")
    tasks = choice_files("task")
    if config.task not in tasks:
        raise ConfigError(f"task={config.task} is unknown. Known: {', '.join(tasks)}")
    added = _sections(tasks[config.task]) - own
    for key in config:
        if key == "experiment":
            known = ", ".join(choice_files("experiment")) or "none"
            raise ConfigError(f"experiment '{config[key]}' is unknown. Known: {known}")
        if key not in own | added:
            raise ConfigError(complaints.unknown_key(str(key), own | added))
    for key in sorted((own | added) - set(config)):
        raise ConfigError(complaints.no_value(str(key)))
    if not str(config.name or "").strip():
        raise ConfigError("name is empty; it names the output folder: name=my-first-sweep")
    for key in ("dry_run", "plots"):
        if not isinstance(config[key], bool):
            raise ConfigError(f"{key}={config[key]}: expected true or false")
    return sorted(added)


def _sections(path: Path) -> set[str]:
    """The top-level keys that a YAML sets, and those of the groups in its defaults list."""
    node: Any = OmegaConf.load(path)
    entries = [entry for entry in node.get("defaults", []) if not isinstance(entry, str)]
    groups = {str(key).removeprefix("/") for entry in entries for key in entry}
    keys = {str(key) for key in node} | {key for key in groups if "/" not in key}
    return {key for key in keys if not key.startswith("override ")} - {"defaults", "hydra"}


def build(config: DictConfig, tracking: TrackingSettings) -> Parts:
    """The components that a config describes, each setting checked by type."""
    settings = _saved(config, tracking)
    return Parts(
        dataset=_instance(config.dataset, "dataset"),
        retrievers={
            str(name): _instance(node, f"retriever.{name}")
            for name, node in config.retriever.items()
        },
        rerankers={
            str(name): _instance(node, f"reranker.{name}") for name, node in config.reranker.items()
        },
        settings={key: settings[key] for key in _OF_THE_EXPERIMENT},
        config=settings,
        hidden=checked(PartNames, {"parts": settings["parts"]}, "").parts,
    )


def _saved(config: DictConfig, tracking: TrackingSettings) -> dict[str, Any]:
    """The whole config as plain data, fit to be kept."""
    settings = plain(config)
    if tracking.kind == "mlflow":  # a mistake in the address need not wait for the results
        settings["tracking"]["uri"] = parse_address(tracking.uri).shown
    return settings


def _instance(node: DictConfig | dict[str, Any], where: str) -> Any:
    """The component of a config node: the one place where a `_target_` becomes an object.

    A setting that is a component itself, such as a reranker's language model, is built first.
    """
    settings = plain(node)
    if not isinstance(settings, dict):
        raise ConfigError(f"{where}={settings}: expected a component's settings; leave it out")
    target = str(settings.pop("_target_", ""))
    if not target.startswith("evalkit."):
        raise ConfigError(f"{where}._target_='{target}': expected a class under evalkit.")
    module, _, name = target.rpartition(".")
    try:
        kind = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{where}._target_='{target}': no such class ({error})") from error
    for key, value in settings.items():
        if isinstance(value, dict) and "_target_" in value:
            settings[key] = _instance(value, f"{where}.{key}")
    return checked(kind, settings, where)


def plain(node: Any) -> Any:
    """Resolved, plain Python data of a config node; a ??? left in it is an error."""
    if not OmegaConf.is_config(node):
        return node
    return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)


def _without_password(tracking: DictConfig) -> dict[str, Any]:
    """The tracking settings; a password is refused in a config, not in an environment variable."""
    if complaints.holds_password(OmegaConf.to_yaml(tracking, resolve=False)):
        raise ConfigError(complaints.PASSWORD_REFUSED)
    return plain(tracking)


def _remove_empty(folder: Path) -> None:
    """Take away the folders that Hydra made for a job that leaves no results."""
    with suppress(OSError):
        folder.rmdir()
        made_for_jobs = HydraConfig.get().mode == RunMode.MULTIRUN
        if made_for_jobs and [p.name for p in folder.parent.iterdir()] == ["multirun.yaml"]:
            (folder.parent / "multirun.yaml").unlink()
            folder.parent.rmdir()
        # Hydra's default is outputs/NAME/TIME; folders that the user made elsewhere stay.
        names = [parent.name for parent in list(folder.parents)[:3]]
        if "outputs" in names:
            for parent in list(folder.parents)[: names.index("outputs") + 1]:
                parent.rmdir()


def quiet_libraries() -> None:
    """Other libraries' chatter stays out of our terminal; their warnings come through."""
    for name in ("httpx", "urllib3", "jieba", "bm25s", "sentence_transformers", "filelock"):
        logging.getLogger(name).setLevel(logging.WARNING)


def known_keys() -> Iterable[str]:
    """Every key of the default config and of each group's choices, and the groups themselves."""
    yield from ("hydra.run.dir", "hydra.sweep.dir")
    for path in choice_files("task").values():
        yield from _sections(path)
        keys = complaints.flat_keys(OmegaConf.to_container(OmegaConf.load(path), resolve=False))
        yield from (key for key in keys if "." in key)
    for group, path in ((g, p) for g in ("dataset", "llm") for p in choice_files(g).values()):
        yield from (f"{group}.{key!s}" for key in OmegaConf.load(path))
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(data_folder("conf")), version_base="1.3"):
        selected = [f"{group}=[{','.join(choice_files(group))}]" for group in complaints.PLURAL]
        # The task that has the most keys of its own.
        config = hydra.compose("config", [*selected, "task=train"])
    yield from complaints.flat_keys(OmegaConf.to_container(config, resolve=False))
