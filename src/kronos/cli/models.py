"""`kronos models`: what can be loaded by name, and putting a trained model on the Hub."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="An array of objects instead of a table.")
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List the models by name: size, context, and where they are loaded from."""
    if context.invoked_subcommand is not None:
        return
    from kronos.model import ZOO

    rows = [
        {
            "name": entry.name,
            "parameters": entry.parameters,
            "tokenizer_parameters": entry.tokenizer_parameters,
            "context": entry.max_context,
            "source": _source(entry.network),
            "tokenizer": _source(entry.tokenizer),
        }
        for entry in ZOO.values()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    click.echo(f"{'name':<6} {'parameters':>12} {'+ tokenizer':>12} {'context':>8}  loaded from")
    for row in rows:
        place = row["source"] if row["source"] == row["tokenizer"] else f"{row['source']} with {row['tokenizer']}"
        click.echo(
            f"{row['name']:<6} {row['parameters']:>12,} {row['tokenizer_parameters']:>12,} {row['context']:>8}  {place}"
        )


@models.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--repo", default=None, metavar="OWNER/NAME", help="Upload to this Hub repository; made if it is not there."
)
@click.option("--out", default=None, type=click.Path(path_type=Path), help="Write what is uploaded to this folder.")
@click.option("--license", default=None, metavar="NAME", help="The licence to state, such as mit or cc-by-nc-4.0.")
@click.option("--private", is_flag=True, help="Only its owner sees the repository; one that is public is refused.")
@click.option("--dry-run", is_flag=True, help="Show the files and the card, write and send nothing.")
def push(folder: Path, repo: str | None, out: Path | None, license: str | None, private: bool, dry_run: bool) -> None:
    """Put a trained model on the Hub, with a model card.

    DIR holds predictor/ and tokenizer/, as training writes them. The card says what its other files tell: data,
    cut-off, settings, losses, base versus tuned; a README.md that is there is kept as its text. Checkpoints are never
    sent. The token is that of `hf auth login`, or HF_TOKEN.
    """
    from kronos.model import hub
    from kronos.model.card import CARD_FILE

    if repo is not None:
        hub.check_repository(repo)
    elif private or not (out or dry_run):
        raise click.UsageError("name --repo OWNER/NAME to upload it, or --out FOLDER to prepare it only")
    with _place(None if dry_run else out) as place:
        hub.prepare(folder, place, repo=repo, license=license)
        files = hub.contents(place)
        if dry_run:
            _show(files, (place / CARD_FILE).read_text(encoding="utf-8"), repo)
            return
        if out is not None:
            click.echo(f"wrote {out}: {', '.join(name for name, _ in files)}")
        if repo is None:
            return
        address = hub.upload(place, repo, private=private, report=lambda line: click.echo(line, err=True))
    click.echo(f"sent {len(files)} files, {sum(size for _, size in files):,} bytes: {address}")
    click.echo(f'load it with kronos.load("{repo}")')


@contextmanager
def _place(out: Path | None) -> Iterator[Path]:
    """Where the folder is prepared: where it was asked for, or somewhere until it is sent."""
    if out is not None:
        yield out
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="kronos-") as folder:
        yield Path(folder) / "hub"


def _show(files: list[tuple[str, int]], card: str, repo: str | None) -> None:
    for name, size in files:
        click.echo(f"{size:>14,}  {name}")
    click.echo(f"{sum(size for _, size in files):>14,}  bytes, to {repo or 'no repository'}; nothing was sent")
    click.echo(f"\n{card}", nl=False)


def _source(place: str | None) -> str:
    return {None: "not released", "embedded": "this package"}.get(place, str(place))
