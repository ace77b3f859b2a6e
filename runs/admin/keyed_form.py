"""The form of a server that operators enter with its address and a key: a provider, an MCP server.

The key is written here and never shown again; a new address asks for it again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from assistants.admin.lists import BoundedAdmin
from runs.completers import providers, vault

if TYPE_CHECKING:
    StockForm = forms.ModelForm[Any]
else:
    StockForm = forms.ModelForm

KEPT = "One is kept; it is never shown. Type to replace it."
OWN_ADDRESS = "This is the address of this Kumos itself."


class KeyedForm(StockForm):
    """For a model with `base_url`, `sealed_key` and `key_variable`. `request` is set by the admin: its host is one of
    the names of this Kumos."""

    request: HttpRequest
    key_prefix = ""
    """What the names of variables begin with that may hold the key."""
    own_address = OWN_ADDRESS
    keeps_slash = False
    """Whether a slash at the end of the address means something."""

    api_key = forms.CharField(
        label="Key",
        required=False,
        max_length=1000,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "class": "vTextField"}),
        help_text="Stored sealed with SECRET_KEY, sent to this address and nowhere else.",
    )
    base_url = forms.CharField(
        max_length=512, widget=forms.TextInput(attrs={"class": "vTextField", "spellcheck": "false"})
    )
    forget_key = forms.BooleanField(label="Remove the key that is kept", required=False)
    key_variable = forms.ChoiceField(label="Or the key's variable", required=False)

    def keys(self) -> Mapping[str, str]:
        """The variables that may be named, and what they hold."""
        raise NotImplementedError

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kept = bool(self.instance.sealed_key)
        if "api_key" in self.fields and kept:
            self.fields["api_key"].help_text = KEPT
        if "forget_key" in self.fields and not kept:
            del self.fields["forget_key"]
        variable = self.fields.get("key_variable")
        if isinstance(variable, forms.ChoiceField):
            variable.help_text = f"A variable of the server's environment whose name begins with {self.key_prefix}."
            named = self.instance.key_variable
            known = sorted(self.keys())
            missing = [(named, f"{named} (not set)")] if named and named not in known else []
            nothing = "(no variable)" if known or named else f"(no variable {self.key_prefix}… is set)"
            variable.choices = [("", nothing), *((name, name) for name in known), *missing]

    def _get_validation_exclusions(self) -> set[str]:
        """The address is checked below: Django's own check knows no host without a dot, as "http://ollama:11434"."""
        excluded: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]
        return excluded | {"base_url"}

    def clean_base_url(self) -> str:
        address = str(self.cleaned_data["base_url"])
        address = address if self.keeps_slash else address.rstrip("/")
        try:
            parts = urlsplit(address)
            _ = parts.port
        except ValueError:
            raise ValidationError("This is not an address.") from None
        if re.search(r"[^!-~]", address):
            raise ValidationError("Expected an address without spaces and characters beyond ASCII.")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValidationError("Expected an http:// or https:// address.")
        if parts.username or parts.password:
            raise ValidationError("No name and no password in the address: enter a key below.")
        if parts.query or parts.fragment:
            raise ValidationError("Expected an address without ? and #.")
        if self._is_here(address):
            raise ValidationError(self.own_address)
        return address

    def _is_here(self, address: str) -> bool:
        own = vault.origin(f"{self.request.scheme}://{self.request.get_host()}")
        port = int(self.request.META.get("SERVER_PORT") or settings.PORT)
        ports = {settings.PORT, port}
        return vault.origin(address) == own or any(
            providers.points_at_self(address, settings.HOST, one) for one in ports
        )

    def clean_api_key(self) -> str:
        key = str(self.cleaned_data["api_key"]).strip()
        if re.search(r"[^!-~]", key):
            raise ValidationError("A key has no spaces and no characters beyond ASCII. Was more than the key copied?")
        return key

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        key, variable = data.get("api_key", ""), data.get("key_variable", "")
        if key and variable:
            self.add_error("key_variable", "Either a key or a variable, not both.")
        if key and data.get("forget_key"):
            self.add_error("forget_key", "Either a new key or none.")
        keeps = self.instance.sealed_key and not key and not data.get("forget_key") and not variable
        if keeps and data.get("base_url"):
            try:
                vault.unseal(self.instance.sealed_key, data["base_url"])
            except vault.Unopenable as error:
                self.add_error("api_key", f"{error} Or remove it.")
        return data

    def save(self, commit: bool = True) -> Any:
        data = self.cleaned_data
        if data.get("api_key"):
            self.instance.sealed_key = vault.seal(data["api_key"], data["base_url"])
        elif data.get("forget_key") or data.get("key_variable"):
            self.instance.sealed_key = ""
        return super().save(commit)


class KeyedAdmin(BoundedAdmin):
    """The admin of a model with such a form."""

    def may_write(self, request: HttpRequest, obj: Any) -> bool:
        return self.has_add_permission(request) if obj is None else self.has_change_permission(request, obj)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)  # a class made for this request
        form.request = request
        return form
