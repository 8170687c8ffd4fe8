"""The commands `ltx2 gateway` and `ltx2 studio`: their options alone, so that `ltx2 --help` loads
nothing heavy.
"""

import argparse
from typing import Any

DONE, FAILED = 0, 1


def add_command(commands: Any) -> None:  # noqa: ANN401 - argparse has no public name for it
    """Add `gateway` with its commands, and `studio`."""
    gateway = commands.add_parser(
        "gateway", help="accounts, credits and a web studio in front of a worker"
    )
    actions = gateway.add_subparsers(title="commands", metavar="COMMAND", required=True)

    serve = actions.add_parser("serve", help="answer the API and the studio")
    serve.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1")
    serve.add_argument(
        "--port", metavar="N", default="8080", help="default 8080; 0 takes one that is free"
    )
    serve.set_defaults(run=run_serve)

    migrate = actions.add_parser("migrate", help="bring the database to this version's tables")
    migrate.set_defaults(run=run_migrate)

    account = actions.add_parser("account", help="make an account, or list all")
    account.add_argument("name", nargs="?", help="of a new account; without it, all are listed")
    account.add_argument("--credits", metavar="N", default="0", help="to begin with, default 0")
    account.set_defaults(run=run_account)

    key = actions.add_parser("key", help="make, list or revoke API keys")
    key.add_argument("account", metavar="ACCOUNT_ID", help="whose")
    key.add_argument("--name", help="make a key by this name; it is shown once")
    key.add_argument("--revoke", metavar="KEY_ID", help="end a key and its logins")
    key.set_defaults(run=run_key)

    grant = actions.add_parser("grant", help="give an account credits")
    grant.add_argument("account", metavar="ACCOUNT_ID", help="whose")
    grant.add_argument("credits", metavar="N", help="1 or more; 1 credit is 0.01 USD")
    grant.add_argument("--note", required=True, help="why; it stays in the ledger")
    grant.set_defaults(run=run_grant)

    adjust = actions.add_parser("adjust", help="correct an account's credits, up or down")
    adjust.add_argument("account", metavar="ACCOUNT_ID", help="whose")
    adjust.add_argument("credits", metavar="N", help="such as 25 or -25; never below nothing")
    adjust.add_argument("--note", required=True, help="why; it stays in the ledger")
    adjust.set_defaults(run=run_adjust)

    doctor = actions.add_parser("doctor", help="whether credits, states and parts are sound")
    doctor.set_defaults(run=run_doctor)

    redeliver = actions.add_parser("redeliver", help="send an event to its receiver once more")
    redeliver.add_argument("event", metavar="EVENT_ID", help="evt_…")
    redeliver.set_defaults(run=run_redeliver)

    for command in (account, key, grant, adjust, doctor):
        command.add_argument(
            "--json", action="store_true", help="print one JSON document on stdout and nothing else"
        )
    studio = commands.add_parser(
        "studio", help="a web studio on this machine, with a worker of its own"
    )
    studio.add_argument(
        "--port", metavar="N", default="8080", help="default 8080; 0 takes one that is free"
    )
    studio.add_argument(
        "--checkpoint",
        help="which weights: auto, a name of `ltx2 models`, a folder, a file or a repository; "
        "default is the setting, and auto without one",
    )
    studio.set_defaults(run=run_studio)

    for command in (serve, migrate, account, key, grant, adjust, doctor, redeliver, studio):
        command.set_defaults(options=list(command._option_string_actions))


def run_serve(arguments: argparse.Namespace, settings: Any) -> int:  # noqa: ANN401 - ltx2's Settings
    """Serve until a signal comes."""
    from gateway.server import serve

    port = whole(arguments.port, "--port", 0, 65_535)
    return serve(settings, host=arguments.host, port=port)


def run_studio(arguments: argparse.Namespace, settings: Any) -> int:  # noqa: ANN401 - ltx2's Settings
    """Serve a studio and its worker until a signal comes."""
    from gateway.local import studio

    port = whole(arguments.port, "--port", 0, 65_535)
    return studio(settings, port=port, checkpoint=arguments.checkpoint)


def run_migrate(_arguments: argparse.Namespace, _settings: object) -> int:
    """Bring the database up to date."""
    from gateway.operations import migrated
    from ltx2.terminal import say

    before, after = migrated()
    say(f"the database is at revision {after}" + ("" if before == after else f", was at {before}"))
    return DONE


def run_account(arguments: argparse.Namespace, _settings: object) -> int:
    """Make an account, or list all."""
    from gateway.operations import opened
    from ltx2.terminal import lines, show, table

    credits = whole(arguments.credits, "--credits", 0, 10**9)
    with opened() as accounts:
        if arguments.name is not None:
            made = accounts.create(arguments.name)
            if credits:
                accounts.grant(made.id, credits, "to begin with")
            if arguments.json:
                show({"id": made.id, "name": made.name, "available": credits, "held": 0})
            else:
                lines(made.id)
            return DONE
        found = accounts.all()
    if arguments.json:
        show([{"id": a.id, "name": a.name, "available": n, "held": h} for a, n, h in found])
    else:
        rows = [(each.id, each.name, str(free), str(held)) for each, free, held in found]
        table(("account", "name", "available", "held"), rows)
    return DONE


def run_key(arguments: argparse.Namespace, _settings: object) -> int:
    """Make, list or revoke keys."""
    from gateway.operations import opened
    from ltx2.errors import BadRequest
    from ltx2.terminal import lines, say, show, table

    if arguments.name is not None and arguments.revoke is not None:
        raise BadRequest("--name makes a key and --revoke ends one: give one of them")
    with opened() as accounts:
        accounts.find(arguments.account)
        if arguments.name is not None:
            made = accounts.new_key(arguments.account, arguments.name)
            if arguments.json:
                show({"id": made.id, "key": made.key})
            else:
                lines(made.key)
                say(f"this is key {made.id}; it is shown this once")
            return DONE
        keys = accounts.keys(arguments.account)
        if arguments.revoke is not None:
            if arguments.revoke not in {each.id for each in keys}:
                raise BadRequest(f"{arguments.account} has no key {arguments.revoke!r}")
            accounts.revoke(arguments.revoke)
            say(f"{arguments.revoke} is revoked")
            return DONE
    listed = [(k.id, k.name, k.shown + "…", "revoked" if k.revoked_at else "good") for k in keys]
    if arguments.json:
        show([dict(zip(("id", "name", "begins", "state"), row, strict=True)) for row in listed])
    else:
        table(("key", "name", "begins", "state"), listed)
    return DONE


def run_grant(arguments: argparse.Namespace, _settings: object) -> int:
    """Give credits."""
    from gateway.operations import opened

    credits = whole(arguments.credits, "N", 1, 10**9)
    with opened() as accounts:
        accounts.find(arguments.account)
        available = accounts.grant(arguments.account, credits, arguments.note)
    return _tell_balance(arguments, {"granted": credits}, available)


def run_adjust(arguments: argparse.Namespace, _settings: object) -> int:
    """Correct a balance by a row of its own."""
    from gateway.operations import opened

    text: str = arguments.credits
    credits = whole(text.removeprefix("-"), "N without its sign", 1, 10**9)
    credits = -credits if text.startswith("-") else credits
    with opened() as accounts:
        accounts.find(arguments.account)
        available = accounts.adjust(arguments.account, credits, arguments.note)
    return _tell_balance(arguments, {"adjusted": credits}, available)


def _tell_balance(arguments: argparse.Namespace, done: dict[str, int], available: int) -> int:
    from ltx2.terminal import say, show

    if arguments.json:
        show({"id": arguments.account, **done, "available": available})
    else:
        say(f"{arguments.account} has {available} credits")
    return DONE


def run_doctor(arguments: argparse.Namespace, _settings: object) -> int:
    """Look at everything; exit 1 where something is wrong."""
    from gateway.operations import examine
    from ltx2.terminal import say, show

    checks = examine()
    sound = all(not faults for faults in checks.values())
    if arguments.json:
        show({"ok": sound, "checks": checks})
    else:
        for name, faults in checks.items():
            say(*([f"{name}: ok"] if not faults else [f"{name}: {fault}" for fault in faults]))
    return DONE if sound else FAILED


def run_redeliver(arguments: argparse.Namespace, _settings: object) -> int:
    """Have an event sent again by the gateway that runs, or the next one that starts."""
    from gateway.operations import redelivered
    from ltx2.terminal import say

    redelivered(arguments.event)
    say(f"{arguments.event} is sent again by the gateway's next turn")
    return DONE


def whole(text: str, name: str, low: int, high: int) -> int:
    """A whole number. Raises BadRequest."""
    from ltx2.errors import BadRequest

    if not text.isascii() or not text.isdigit() or not low <= int(text[:12]) <= high:
        raise BadRequest(f"{name} must be a whole number from {low} to {high}; got {text[:40]!r}")
    return int(text)
