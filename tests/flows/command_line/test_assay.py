"""The command `assay`: help at once, the same options as the files in flows/, completion, and lists of models."""

import os
import re
import resource
import shlex
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from flows.command_line import assay, export
from flows.command_line.listing import model_lines
from flows.command_line.parsers import export_parser
from tasks.core.errors import SpecError
from tasks.core.paths import PROJECT_FOLDER
from tasks.core.spec.catalog import read_catalog


@pytest.mark.parametrize("command", ["export", "verify", "sweep", "compare"])
def test_help_is_there_without_large_imports(command: str) -> None:
    """Neither PyTorch nor what else takes long, so that it takes a third of a second; it ends with examples."""
    program = (
        f"import sys; from flows.command_line.assay import main; main(['{command}', '--help'])\n"
        "print([name for name in ('torch', 'prefect', 'mlflow', 'numpy', 'httpx', 'rich') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=PROJECT_FOLDER, capture_output=True, text=True)
    assert ran.stdout.startswith(f"usage: assay {command} ")
    assert f"examples:\n  assay {command} " in ran.stdout
    statuses = "0 compared, whatever differs, 2 bad" if command == "compare" else "0 proven or unchanged, 1 not proven"
    assert f"Exit status: {statuses}" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("command", "seconds"),
    [*((f"{name} --help", 0.5) for name in ("export", "verify", "sweep", "compare", "serve", "notify")),
     ("export --list", 1.5), ("export --list timm:*", 1.5)],
)  # fmt: skip
def test_help_and_lists_take_no_time(command: str, seconds: float) -> None:
    """Of the processor, which is what the clock shows where nothing else runs; the better of two."""
    program = "import sys; from flows.command_line.assay import main; sys.exit(main())"
    taken = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run = [sys.executable, "-c", program, *command.split()]
        subprocess.run(run, cwd=PROJECT_FOLDER, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(taken) < seconds


@pytest.mark.parametrize(
    "file",
    [
        *(f"flows/{name}.py" for name in ("export", "verify", "sweep", "compare")),
        "deployments/serve.py",
        "deployments/notify.py",
    ],
)
def test_a_python_without_assay_is_told(file: str, tmp_path: Path) -> None:
    """Whoever forgot to activate the environment reads one sentence."""
    venv.create(tmp_path / "bare", with_pip=False)
    ran = subprocess.run([tmp_path / "bare/bin/python", file, "x"], cwd=PROJECT_FOLDER, capture_output=True, text=True)
    (sentence,) = ran.stderr.splitlines()
    assert ran.returncode == 2
    assert re.match(r"error: .*bare/bin/python has no \w+, which Assay needs; use the Python", sentence)


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C"}]
)
def test_all_of_assay_speaks_any_encoding(environment: dict[str, str]) -> None:
    """Each command's help, the lists, and the script for a shell: status 0 and no traceback."""
    commands = [["--help"], ["export", "--list"], ["completion", "bash"]]
    commands += [[name, "--help"] for name in ("export", "verify", "sweep", "compare", "serve", "notify")]
    program = (
        f"from flows.command_line.assay import main\nfor command in {commands}:\n"
        "    try:\n        status = main(command)\n"
        "    except SystemExit as end:\n        status = end.code\n    assert status == 0, command"
    )
    run = [sys.executable, "-c", program]
    ran = subprocess.run(
        run, cwd=PROJECT_FOLDER, env={**os.environ, "PYTHONUTF8": "0", **environment}, capture_output=True
    )
    assert (ran.returncode, ran.stderr) == (0, b""), ran.stderr


def test_colours_are_for_terminals_that_want_them() -> None:
    """An error on a terminal has colours; with NO_COLOR, and in a pipe, it has none."""
    program = "from flows.command_line.assay import main; assert main(['export', 'resnet8']) == 2"
    quoted = shlex.join([sys.executable, "-c", program])
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)

    def coloured(command: list[str], **more: str) -> bool:
        ran = subprocess.run(command, cwd=PROJECT_FOLDER, env={**environment, **more}, capture_output=True, check=True)
        assert b"did you mean" in ran.stdout
        return re.search(rb"\x1b\[(\d+;)*[39][0-7]", ran.stdout) is not None

    on_a_terminal = ["script", "-qec", quoted, "/dev/null"]
    assert coloured(on_a_terminal)
    assert not coloured(on_a_terminal, NO_COLOR="1")
    assert not coloured(["bash", "-c", f"{quoted} 2>&1 | cat"])


def test_help_fits_narrow_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 60 columns all but the examples takes no more; those are whole lines, to be copied, of less than 80."""
    monkeypatch.setenv("COLUMNS", "60")
    options, _, rest = export_parser().format_help().partition("examples:")
    examples, _, statuses = rest.partition("\n\n")
    assert max(map(len, f"{options}\n{statuses}".splitlines())) <= 60
    assert max(map(len, examples.splitlines())) < 80


def test_commands_are_those_of_the_files(capsys: pytest.CaptureFixture[str]) -> None:
    """`assay export` is flows/export.py; without a command it says which there are, for a wrong one the closest."""
    assert assay.main(["export", "resnet8"]) == export.main(["resnet8"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == second
    assert assay.main([]) == assay.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(
        f"  {name} " in said for name in ("export", "verify", "sweep", "compare", "serve", "notify", "completion")
    )
    assert assay.main(["exprt"]) == 2
    assert capsys.readouterr().err == "error: assay has no command exprt; write assay export.\n"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shells_complete_options_and_models(shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The script has commands, options and names; bash can read it."""
    assert assay.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("verify", "--weights", "torchscript", "resnet18", "digits"))
    if shell == "bash":
        (tmp_path / "assay").write_text(script)
        completed = (
            f"source {tmp_path}/assay; COMP_WORDS=(assay export resnet10); COMP_CWORD=2; _shtab_assay; "
            "echo ${COMPREPLY[@]}"
        )
        ran = subprocess.run(["bash", "-c", completed], capture_output=True, text=True, check=True)
        assert ran.stdout.split() == ["resnet101"], ran.stderr


def test_a_shell_without_completion_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """With those that have it."""
    assert assay.main(["completion", "nushell"]) == 2
    assert "take bash or zsh" in capsys.readouterr().err


def test_models_are_listed_without_pytorch(tmp_path: Path) -> None:
    """Of the catalog and of every family, with status 0; a name that nothing has gets those close to it, and 2."""
    program = (
        "import sys; from flows.command_line.export import main\n"
        "print(main(['--list']), main(['--list', 'resnt*']), {'torch', 'prefect', 'mlflow'} & sys.modules.keys())"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=PROJECT_FOLDER, capture_output=True, text=True)
    title, *listed, timm, last, end = ran.stdout.splitlines()
    assert end == "0 2 set()"
    assert re.fullmatch(r"and \d,\d{3} of timm: --list 'timm:\*'", timm)
    assert last == "and any hf:FOLDER, hf:ORG/NAME[@REVISION], or package.module:Class or path/to/file.py:Class"
    assert title.split() == ["MODEL", "FAMILY", "WEIGHTS"]
    assert len(listed) > 121
    assert max(map(len, listed)) <= 60
    assert "did you mean resnet" in ran.stderr


def test_what_is_said_of_weights(caches: Path) -> None:
    """Here, or online; a glob chooses."""
    (_, digits) = model_lines("digits")
    assert digits.split() == ["digits", "[dim]catalog", "[/]", "here"]
    assert [line.rpartition("]  ")[2] for line in model_lines("alexnet")][1:] == ["[dim]online[/]"] * 2
    folder = caches / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "alexnet-owt-7be5be79.pth").touch()
    assert [line.endswith("  here") for line in model_lines("alexnet")] == [False, True, True]
    assert [line.split()[0] for line in model_lines("*")][1:][: len(read_catalog())] == list(read_catalog())
    with pytest.raises(SpecError, match="is no catalog entry"):
        list(model_lines("zzz*"))


def test_an_option_that_is_misspelt_gets_the_closest() -> None:
    """One sentence."""
    with pytest.raises(SpecError, match=r"unrecognized arguments: --wieghts x; did you mean --weights\?"):
        export_parser().parse_args(["resnet18", "--wieghts", "x"])
