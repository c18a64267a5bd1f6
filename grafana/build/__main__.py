"""`python -m grafana.build`: writes grafana/dashboards/*.json; what is no longer built goes."""

from pathlib import Path

from grafana.build.catalogue import files

DIRECTORY = Path(__file__).parents[1] / "dashboards"


def main() -> None:
    built = files()
    for stale in DIRECTORY.glob("*.json"):
        if stale.name not in built:
            stale.unlink()
    for name, content in built.items():
        (DIRECTORY / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
