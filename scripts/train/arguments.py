"""What the command lines of this folder have in common: folders that must hold something, said before the work begins."""
import argparse
from pathlib import Path


def folder_with(name: str, advice: str):
    """An argparse type: the folder as given, refused with `advice` unless `name` lies in it."""

    def read(folder: str) -> str:
        if Path(folder, name).exists():
            return folder
        raise argparse.ArgumentTypeError(f"{folder} holds no {name}: {advice}")

    return read


def add_base(parser: argparse.ArgumentParser) -> None:
    advice = "run this from the repository's root, or name the base model's folder"
    parser.add_argument("--base", type=folder_with("tokenizer.json", advice), default="gpu-backend/base-model")


def add_repo(parser: argparse.ArgumentParser, project: str, name: str) -> None:
    """A checkout of `project`, which holds `name`."""
    advice = f"git clone https://github.com/{project} and name the folder"
    parser.add_argument("--repo", type=folder_with(name, advice), required=True)
