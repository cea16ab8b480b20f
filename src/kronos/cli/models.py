"""`kronos models`: what can be loaded by name."""

import json

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="An array of objects instead of a table.")
def models(as_json: bool) -> None:
    """List the models by name: size, context, and where they are loaded from."""
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


def _source(place: str | None) -> str:
    return {None: "not released", "embedded": "this package"}.get(place, str(place))
