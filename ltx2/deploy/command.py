"""The command `ltx2 deploy`: create, update, show and delete an endpoint on RunPod."""

import argparse
import datetime
from collections.abc import Mapping
from typing import Any

DONE, FAILED = 0, 1


def add_command(commands: Any) -> None:  # noqa: ANN401 - argparse has no public name for it
    """Add `deploy` with its four commands."""
    deploy = commands.add_parser(
        "deploy", help="an endpoint on RunPod: create, update, show, delete"
    )
    actions = deploy.add_subparsers(title="commands", metavar="COMMAND", required=True)

    create = actions.add_parser("create", help="make an endpoint")
    _add_wish_flags(create)
    create.set_defaults(run=run_create)

    update = actions.add_parser(
        "update",
        help="change what is given here of an endpoint",
        description="Changes what is given and leaves the rest; defaults named here are those of "
        "`create`.",
    )
    _add_id(update)
    _add_wish_flags(update)
    update.add_argument(
        "--unset", action="append", default=[], metavar="NAME", help="remove a variable; repeatable"
    )
    update.add_argument(
        "--replace-env",
        action="store_true",
        help="the workers get these variables and no other; else they are added",
    )
    update.set_defaults(run=run_update)

    show = actions.add_parser("show", help="the endpoint, its workers and its releases")
    _add_id(show)
    show.set_defaults(run=run_show)

    delete = actions.add_parser("delete", help="delete an endpoint and cancel its jobs")
    _add_id(delete)
    delete.add_argument("--yes", action="store_true", help="really: nothing is asked")
    delete.set_defaults(run=run_delete)

    for command in (create, update, show, delete):
        command.add_argument("--api-url", help=argparse.SUPPRESS)
        command.add_argument(
            "--json", action="store_true", help="print one JSON document on stdout and nothing else"
        )
        command.set_defaults(options=list(command._option_string_actions))


def _add_id(command: argparse.ArgumentParser) -> None:
    command.add_argument("id", metavar="ENDPOINT_ID", help="as `create` and the console show it")


def _add_wish_flags(command: argparse.ArgumentParser) -> None:
    from ltx2.deploy.defaults import CHECKPOINT, CUDA, INIT_TIMEOUT, MODES, NAME, TIMEOUT, WEIGHTS

    add = command.add_argument
    many: dict[str, Any] = {"action": "append", "default": []}
    add("--image", help="OWNER/NAME:TAG with its registry in front; a version, not latest")
    add("--name", help=f"name of the endpoint (default {NAME})")
    add("--checkpoint", help=f"which weights, as in `ltx2 models` (default {CHECKPOINT})")
    add("--modes", choices=MODES, help="modes that a worker loads weights for (default fast)")
    ways = "; ".join(f"{name}: {where}" for name, where in WEIGHTS.items())
    add("--weights", choices=tuple(WEIGHTS), help=f"where the workers find them. {ways}")
    add("--volume", **many, metavar="ID", help="network volume, one a data centre; repeatable")
    add("--gpu", **many, metavar="POOL", help="GPU pool in place of those chosen by memory; "
        "repeatable, the first counts most")  # fmt: skip
    add("--exclude", **many, metavar="TYPE", help="type of card in these pools that is not taken")
    add("--min-cuda", metavar="VERSION", help=f"least CUDA of a host (default {CUDA})")
    add("--cuda", **many, metavar="VERSION", help="only hosts with this CUDA; repeatable")
    add("--data-center", **many, metavar="ID", help="only there; repeatable")
    add("--min-workers", type=int, metavar="N", help="always there and billed (default 0)")
    add("--max-workers", type=int, metavar="N", help="at most (default 2)")
    add("--disk", type=int, metavar="GB", help="of a worker's container (default by --weights)")
    add("--timeout", type=int, metavar="SECONDS", help=f"for a job (default {TIMEOUT})")
    add("--init-timeout", type=int, metavar="SECONDS", help="for a cold start "
        f"(default {INIT_TIMEOUT})")  # fmt: skip
    add("--flashboot", action=argparse.BooleanOptionalAction, help="keep a worker's state for a "
        "quicker start (default on)")  # fmt: skip
    add("--registry", metavar="ID", help="RunPod's credential for a private registry")
    add("--env", **many, metavar="NAME=VALUE", help="variable of the workers; repeatable")
    add("--secret", **many, metavar="NAME=SECRET", help="variable whose value is a secret of your "
        "RunPod account, by its name; repeatable")  # fmt: skip
    add(
        "--dry-run",
        action="store_true",
        help="print the JSON body that would be sent, send nothing",
    )


def run_create(arguments: argparse.Namespace, settings: object) -> int:  # noqa: ARG001
    """Make an endpoint and read it back."""
    from ltx2.deploy.cost import cost, lines
    from ltx2.deploy.endpoint import creation_body, for_creation, left_to_do, warnings
    from ltx2.deploy.environment import advice
    from ltx2.errors import BadRequest
    from ltx2.rest import ServiceError
    from ltx2.terminal import say, show

    wish, problems = _wish(arguments)
    key = _key()
    prices = _prices(key, arguments)
    wish, more = for_creation(wish, prices)
    if problems or more:
        raise BadRequest([*problems, *more])
    body = creation_body(wish)
    told = [
        *warnings(wish.checkpoint or "", wish.modes or "", wish.gpus, prices),
        *advice(wish.env),
    ]
    bill = cost(wish.gpus, prices, min_workers=wish.min_workers or 0, today=_today())
    say(*(f"warning: {text}" for text in told), *lines(bill))
    steps = left_to_do(wish.weights, wish.checkpoint or "", wish.modes or "")
    if arguments.dry_run:
        say("dry run: nothing is sent; POST /v2/serverless would have this body")
        show(_document(arguments, body=body, cost=bill, warnings=told, dry_run=True))
        return DONE
    with _account(key, arguments) as account:
        made = account.create(body)
        endpoint_id = made.get("id")
        if not isinstance(endpoint_id, str):
            raise ServiceError("RunPod answered without the endpoint's id; look at the console")
        say(f"endpoint {endpoint_id} was created")
        try:
            unlike = _unlike(body, account.endpoint(endpoint_id))
        except (ServiceError, BadRequest, KeyboardInterrupt) as error:
            raise ServiceError(
                f"endpoint {endpoint_id} was created, and it could not be read back: "
                f"{error or 'stopped'}; delete it with: ltx2 deploy delete {endpoint_id} --yes"
            ) from None
    told += [f"RunPod has another {text}" for text in unlike]
    say(*(f"warning: RunPod has another {text}" for text in unlike))
    say(*(f"left to do: {step}" for step in steps))
    urls = made.get("requestUrls")
    if arguments.json:
        show({"id": endpoint_id, "requestUrls": urls, "endpoint": _masked(body), "cost": bill,
              "warnings": told, "left_to_do": steps})  # fmt: skip
    else:
        show({"id": endpoint_id, "requestUrls": urls})
    return DONE


def run_update(arguments: argparse.Namespace, settings: object) -> int:  # noqa: ARG001
    """Send what differs, and nothing where nothing does."""
    from ltx2.deploy.change import differences, merged, patch_body
    from ltx2.deploy.cost import cost, lines
    from ltx2.deploy.endpoint import left_to_do, warnings
    from ltx2.deploy.environment import advice
    from ltx2.errors import BadRequest
    from ltx2.terminal import say, show

    wish, problems = _wish(arguments)
    key = _key()
    prices = _prices(key, arguments)
    problems += wish.problems(prices)
    if problems:
        raise BadRequest(problems)
    with _account(key, arguments) as account:
        current = account.endpoint(arguments.id)
        patch = patch_body(wish, current)
        changes = differences(patch, current)
        say(*(str(change) for change in changes))
        future = merged(patch, current)
        env = future.get("env") or {}
        pools = (future.get("gpu") or {}).get("pools") or []
        checkpoint, modes = env.get("LTX2_CHECKPOINT", ""), env.get("LTX2_MODES", "fast")
        told = [*warnings(checkpoint, modes, pools, prices), *advice(wish.env)]
        told += _disagreement(future)
        workers = (future.get("workers") or {}).get("min") or 0
        bill = cost(pools, prices, min_workers=workers, today=_today())
        say(*(f"warning: {text}" for text in told), *lines(bill))
        if arguments.dry_run:
            say(
                f"dry run: nothing is sent; PATCH /v2/serverless/{arguments.id} would have this"
                " body"
            )
            show(_document(arguments, body=patch, cost=bill, warnings=told, dry_run=True))
            return DONE
        if patch:
            account.update(arguments.id, patch)
            say(f"endpoint {arguments.id} is updated; its workers are replaced one by one")
            steps = left_to_do(wish.weights, checkpoint, modes)
            say(*(f"left to do: {step}" for step in steps))
        else:
            say("nothing differs; nothing was sent")
    if arguments.json:
        show({"id": arguments.id, "changed": [change.place for change in changes],
              "sent": _masked(patch), "cost": bill, "warnings": told})  # fmt: skip
    return DONE


def run_show(arguments: argparse.Namespace, settings: object) -> int:  # noqa: ARG001
    """The endpoint, its workers and its releases."""
    from ltx2.deploy.environment import without_secrets
    from ltx2.terminal import say, show

    with _account(_key(), arguments) as account:
        endpoint = account.endpoint(arguments.id)
        found = without_secrets(
            {
                "endpoint": endpoint,
                "workers": account.workers(arguments.id),
                "releases": account.releases(arguments.id),
            },
            account.masked,
        )
    told = _disagreement(endpoint)
    say(*(f"warning: {text}" for text in told))
    if arguments.json:
        show({**found, "warnings": told})
    else:
        _show_plainly(**found)
    return DONE


def run_delete(arguments: argparse.Namespace, settings: object) -> int:  # noqa: ARG001
    """Delete an endpoint that is there."""
    from ltx2.errors import BadRequest
    from ltx2.terminal import say, show

    with _account(_key(), arguments) as account:
        endpoint = account.endpoint(arguments.id)
        name = endpoint.get("name")
        if not arguments.yes:
            raise BadRequest(
                f"endpoint {arguments.id} ({name}) would be deleted and its jobs cancelled; "
                "give --yes to do it"
            )
        account.delete(arguments.id)
    say(f"endpoint {arguments.id} ({name}) is deleted; network volumes and secrets stay")
    if arguments.json:
        show({"id": arguments.id, "deleted": True})
    return DONE


def _wish(arguments: argparse.Namespace) -> tuple[Any, list[str]]:
    from ltx2.deploy.endpoint import Wish
    from ltx2.deploy.environment import parse_pairs

    env, problems = parse_pairs(arguments.env, arguments.secret)
    same = ("name", "image", "checkpoint", "modes", "weights", "min_cuda", "min_workers",
            "max_workers", "disk", "timeout", "init_timeout", "flashboot", "registry")  # fmt: skip
    wish = Wish(
        **{name: getattr(arguments, name) for name in same},
        gpus=tuple(arguments.gpu),
        exclude=tuple(arguments.exclude),
        cuda=tuple(arguments.cuda),
        data_centers=tuple(arguments.data_center),
        volumes=tuple(arguments.volume),
        env=env,
        unset=tuple(getattr(arguments, "unset", ())),
        replace_env=getattr(arguments, "replace_env", False),
    )
    return wish, problems


def _key() -> str | None:
    from ltx2.rest import checked_key
    from ltx2.worker.settings import WorkerSettings

    return checked_key(WorkerSettings.from_env().api_key)


def _account(key: str | None, arguments: argparse.Namespace) -> Any:  # noqa: ANN401 - imported late
    from ltx2.deploy.account import API, Account
    from ltx2.errors import ConfigError

    if key is None:
        raise ConfigError(
            "RUNPOD_API_KEY is not set: make a key at https://console.runpod.io/user/settings and "
            "set it; `ltx2 deploy create --dry-run` needs none"
        )
    return Account(key, url=arguments.api_url or API)


def _prices(key: str | None, arguments: argparse.Namespace) -> Any:  # noqa: ANN401 - imported late
    """The live prices where there is a key, else those of the table; the latter is told."""
    from ltx2.deploy.pools import PriceList
    from ltx2.errors import BadRequest, ConfigError
    from ltx2.rest import RefusedKey, ServiceError
    from ltx2.terminal import say

    table = PriceList.of_table()
    if key is None:
        return table
    try:
        with _account(key, arguments) as account:
            return table.updated(account.catalogue(), today=_today())
    except RefusedKey:
        raise
    except (ServiceError, BadRequest, ConfigError) as error:
        say(f"warning: no live prices, those of the table are used: {error}")
        return table


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


def _masked(endpoint: Mapping[str, Any]) -> dict[str, Any]:
    """An endpoint, or a body of one, as it may be shown."""
    from ltx2.deploy.environment import shown

    env = endpoint.get("env")
    return {**endpoint, **({"env": shown(env)} if isinstance(env, Mapping) else {})}


def _document(arguments: argparse.Namespace, *, body: Mapping[str, Any], **more: Any) -> Any:  # noqa: ANN401
    """The body alone, or with what was said beside it."""
    return {"body": _masked(body), **more} if arguments.json else _masked(body)


def _unlike(body: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Where an endpoint that was read back is not what was asked for, without any value."""
    from ltx2.deploy.change import differences

    told = {name: value for name, value in body.items() if name in found}
    return [change.place for change in differences(told, found)
            if change.before is not None and change.before != change.after]  # fmt: skip


def _disagreement(endpoint: Mapping[str, Any]) -> list[str]:
    """Where the workers believe another time limit than the endpoint keeps."""
    env, limit = endpoint.get("env") or {}, endpoint.get("timeout")
    believed = env.get("LTX2_EXECUTION_SECONDS")
    if not isinstance(limit, int | float) or not isinstance(believed, str):
        return []
    try:
        same = float(believed) * 1000 == limit
    except ValueError:
        same = False
    if same:
        return []
    return [
        f"the endpoint ends a job after {limit / 1000:g} s, and LTX2_EXECUTION_SECONDS tells its "
        f"workers {believed}; set both by: ltx2 deploy update ... --timeout {limit / 1000:.0f}"
    ]


def _show_plainly(
    endpoint: Mapping[str, Any], workers: list[dict[str, Any]], releases: list[dict[str, Any]]
) -> None:
    """For people: a line a fact, then tables of workers and releases."""
    from ltx2.terminal import lines, table

    for name, value in endpoint.items():
        if isinstance(value, Mapping):
            lines(*(f"{name}.{key}: {_plain(entry)}" for key, entry in value.items()))
        else:
            lines(f"{name}: {_plain(value)}")
    for title, entries in (("WORKERS", workers), ("RELEASES", releases)):
        lines("", f"{title}: {len(entries)}")
        columns = tuple(dict.fromkeys(key for entry in entries for key in entry))
        if columns:
            cells = [tuple(_plain(entry.get(key)) for key in columns) for entry in entries]
            table(tuple(key.upper() for key in columns), cells)


def _plain(value: object) -> str:
    if value is None:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
