"""Scenarios for the official Python SDK and for LangChain. The Python of their environments plays them.

It has no Kumos, so nothing in this package imports anything but what is driven and the standard library:

    .venv-contract/openai-1/bin/python -m tests.contract.python openai
"""

SCENES = {
    "openai": ("assistants", "runs", "streams", "files", "vector_stores", "errors"),
    "langchain": ("langchain",),
}
"""The modules with the scenarios for what the first word of an environment's name says is there."""
