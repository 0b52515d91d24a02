"""What no line of segue does: a test that reads the source, because nobody can try every input."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
import torch

from segue.errors import CheckpointError
from segue.models.weights import foreign
from tests.conftest import ROOT

SOURCES = sorted(
    path
    for folder in ("segue", "scripts", "benchmarks", "docs")
    for path in (ROOT / folder).rglob("*.py")
)
DOOR, NETWORK = "segue/models/weights/foreign.py", "segue/models/weights/hub.py"
ARRAYS = "segue/models/weights/arrays.py"

# Modules that nothing may import, but for the files named.
MODULES = {
    "pickle": {DOOR, ARRAYS},
    **dict.fromkeys(
        ("_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle"),
        set(),
    ),
    **dict.fromkeys(("code", "codeop", "runpy", "imp", "ctypes", "cffi", "pty"), set()),
    **dict.fromkeys(
        ("requests", "httpx", "urllib", "http", "ftplib", "socket", "aiohttp", "urllib3", "wget"),
        set(),
    ),
    **dict.fromkeys(("tarfile", "xml.sax", "xml.dom", "lxml", "xmlrpc"), set()),
    "huggingface_hub": {NETWORK},
    "zipfile": {DOOR, "segue/inference/outputs.py"},  # reads a table of contents; writes ROIs
    "subprocess": {
        "benchmarks/gpu_inference.py",  # predict and a second process, as a user starts them
        "benchmarks/gpu_resume.py",
        "benchmarks/stage2_step.py",
        "benchmarks/thaw_step.py",
        "docs/trust.py",
    },  # a list, of their own commands
}
# Calls, as they are written, and methods of anything.
CALLS = {
    *(
        "eval",
        "exec",
        "compile",
        "__import__",
        "input",
        "fromstring",
        "urlopen",
        "builtins.eval",
        "builtins.exec",
    ),
    *("os.system", "os.popen", "os.startfile", "torch.jit.load", "torch.package.PackageImporter"),
    *(
        "yaml.load",
        "yaml.load_all",
        "yaml.unsafe_load",
        "yaml.full_load",
        "yaml.Loader",
        "yaml.UnsafeLoader",
    ),
}
METHODS = {
    *(
        "extractall",
        "unpack_archive",
        "urlopen",
        "urlretrieve",
        "load_state_dict_from_url",
        "hf_hub_download",
    ),
    *("from_pretrained", "fromstring", "iterparse", "full_load", "unsafe_load"),
}
# A module whose name is not written there: where, and where the name comes from.
IMPORTS = {
    ("segue/__init__.py", "_HOMES[name]"): "a table above it",
    ("segue/base/extras.py", "module"): "written by whoever calls it",
    ("segue/base/plugins.py", "f'{package}.{name}'"): "a file of the package itself",
    ("segue/base/plugins.py", "name"): "a plan or a command line; may_be_named holds data off",
    ("segue/compat/detector_then_masks/validate_setup.py", "name"): "a table above it",
    ("benchmarks/gpu_cases.py", "'transformers'"): "written there, untyped on purpose",
    ("docs/api.py", "module"): "a table above it",
}


def nodes() -> Iterator[tuple[str, ast.AST]]:
    for path in SOURCES:
        name = path.relative_to(ROOT).as_posix()
        yield from ((name, node) for node in ast.walk(ast.parse(path.read_text())))


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def forbidden_imports(name: str, node: ast.AST) -> list[str]:
    places = {
        module: found
        for module in imported(node)
        for found in MODULES
        if f"{module}.".startswith(f"{found}.")
    }
    return [
        f"{name}: imports {module}"
        for module, found in places.items()
        if name not in MODULES[found]
    ]


def forbidden_calls(name: str, node: ast.AST) -> list[str]:
    if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("torch.hub"):
        return [f"{name}: torch.hub"]
    if not isinstance(node, ast.Call):
        return []
    said = ast.unparse(node.func)
    flags = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    method = isinstance(node.func, ast.Attribute) and node.func.attr in METHODS
    found = [said] if said in CALLS or method else []
    found += [
        f"{flag}={flags[flag]}"
        for flag in ("allow_pickle", "shell", "trust_remote_code", "trust_repo")
        if flags.get(flag, "False") != "False"
    ]
    found += (
        [said]
        if said == "torch.load" and (flags.get("weights_only") != "True" or name != DOOR)
        else []
    )
    found += [said] if said == "np.load" and flags.get("allow_pickle") != "False" else []
    found += (
        [said]
        if said == "Image.open" and "formats" not in flags and name != "segue/labelling/sheet.py"
        else []
    )
    found += [said] if said == "jinja2.Environment" and flags.get("autoescape") != "True" else []
    return [f"{name}:{node.lineno}: {one}" for one in found]


def forbidden_imports_by_name(name: str, node: ast.AST) -> list[str]:
    if not (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module")):
        return []
    said = ast.unparse(node.args[0])
    return [] if (name, said) in IMPORTS else [f"{name}: import_module({said})"]


def test_nothing_runs_what_a_file_says():
    assert len(SOURCES) > 190
    seen = list(nodes())
    assert sum(isinstance(node, ast.Call) for _, node in seen) > 5000
    assert [found for name, node in seen for found in forbidden_imports(name, node)] == []
    assert [found for name, node in seen for found in forbidden_calls(name, node)] == []
    assert [found for name, node in seen for found in forbidden_imports_by_name(name, node)] == []


def test_addresses_are_https():
    texts = [(name, node.value) for name, node in nodes() if isinstance(node, ast.Constant)]
    strange = {
        (name, text) for name, text in texts if isinstance(text, str) and "http://" in text.lower()
    }
    assert strange == set() and len(texts) > 10_000


def test_templates_escape_all_but_our_own_drawings():
    """Every page is a template; what is marked safe in one is an SVG that matplotlib wrote."""
    safe = {}
    for path in sorted((ROOT / "segue").rglob("*.html")):
        text = path.read_text()
        safe[path.name] = {
            part.split("|")[0].split("{{")[-1].strip()
            for part in text.split("}}")
            if "safe" in part
        }
        assert "<script" not in text and "http" not in text and "autoescape" not in text
    assert safe == {
        "audit.html": set(),
        "comparison.html": {"curve"},
        "report.html": {"curve"},
        "sheet.html": set(),
    }


def test_results_reach_the_terminal_by_one_function():
    """`show` makes what it quotes of files harmless; on the error stream, errors and warnings do so
    themselves.
    """
    ours = [(name, node) for name, node in nodes() if name.startswith(("segue", "scripts"))]
    calls = [(name, ast.unparse(n.func), n) for name, n in ours if isinstance(n, ast.Call)]
    assert {name for name, said, _ in calls if said == "print"} == {"segue/errors.py"}
    written = [
        ast.unparse(n.args[0])
        for _, said, n in calls
        if said in ("sys.stdout.write", "sys.stderr.write")
    ]
    plain = (
        "printable(",
        "error.message",
        "{stop}",
        "out of memory outside",
        "text(recipe)",
        "--{flag} has no effect",
    )
    assert [text for text in written if not any(word in text for word in plain)] == [] and len(
        written
    ) >= 9


@pytest.mark.parametrize(
    "line",
    [
        *(
            "import pickle",
            "from pickle import loads",
            "import dill",
            "from urllib.request import urlopen",
        ),
        *(
            "eval(text)",
            "exec(text)",
            "np.load(path)",
            "np.load(path, allow_pickle=True)",
            "torch.load(path)",
        ),
        *(
            "torch.load(path, weights_only=False)",
            "torch.hub.load('a', 'b')",
            "yaml.load(text, yaml.BaseLoader)",
        ),
        *(
            "importlib.import_module(card.family)",
            "__import__(name)",
            "os.system('ls')",
            "subprocess.run(x, shell=True)",
        ),
        *("tar.extractall(folder)", "Image.open(path)", "jinja2.Environment()"),
    ],
)
def test_the_reader_of_sources_sees_what_it_is_for(line):
    """It fails on each of these lines in any file."""
    rules = (forbidden_imports, forbidden_calls, forbidden_imports_by_name)
    assert [
        found
        for node in ast.walk(ast.parse(line))
        for rule in rules
        for found in rule("segue/x.py", node)
    ]


def test_older_versions_of_torch_read_no_file(tmp_path, monkeypatch):
    """Before 2.10 the weights-only loader itself could be made to corrupt memory."""
    foreign.write_pickle(tmp_path / "a.pth", {"model": {"w": torch.ones(2)}})
    assert set(foreign.read_pickle(tmp_path / "a.pth")) == {"model"}
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(
        CheckpointError, match="reads such files unsafely; expected torch 2.10 or newer"
    ):
        foreign.read_pickle(tmp_path / "a.pth")
