"""Importing without LlamaIndex names the command; with it, nothing else happens."""

import subprocess
import sys
import textwrap


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_missing_llama_index_names_the_install_command() -> None:
    out = run(
        """
        import sys
        from importlib.abc import MetaPathFinder

        class Hide(MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "llama_index":
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Hide())
        from routellm_core.errors import MissingDependencyError
        for module in ("routellm_llamaindex", "routellm_llamaindex.selector"):
            try:
                __import__(module)
            except MissingDependencyError as error:
                print(error)
        """
    )
    assert (
        out.splitlines()
        == ["routellm_llamaindex needs the extra 'llamaindex': pip install \"routellm-plugins[llamaindex]\""] * 2
    )


def test_import_brings_no_provider_and_no_handler() -> None:
    out = run(
        """
        import logging, sys
        import llama_index.core
        before, handlers = set(sys.modules), list(logging.getLogger().handlers)
        import routellm_llamaindex
        new = {name.partition(".")[0] for name in set(sys.modules) - before}
        print(sorted(new & {"openai", "torch", "transformers", "model2vec", "huggingface_hub", "langchain_core"}))
        print(logging.getLogger().handlers == handlers)
        """
    )
    assert out.split() == ["[]", "True"]
