"""The form of a provider. Its key is written here and never shown again; a new address asks for it again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from runs.completers import providers, vault
from runs.models import Provider

if TYPE_CHECKING:
    StockForm = forms.ModelForm[Provider]
else:
    StockForm = forms.ModelForm

KEPT = "One is kept; it is never shown. Type to replace it."
RESERVED = {providers.SCRIPTED, providers.DEFAULT}


class ProviderForm(StockForm):
    """`request` is set by the admin: its host is one of the names of this Kumos."""

    request: HttpRequest

    api_key = forms.CharField(
        label="Key",
        required=False,
        max_length=1000,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "class": "vTextField"}),
        help_text="Stored sealed with SECRET_KEY, sent to the base URL and nowhere else.",
    )
    base_url = forms.CharField(
        label="Base URL",
        max_length=512,
        widget=forms.TextInput(attrs={"class": "vTextField", "spellcheck": "false"}),
        help_text="What comes before /chat/completions, mostly ending in /v1: https://models.example.org/v1",
    )
    forget_key = forms.BooleanField(label="Remove the key that is kept", required=False)
    key_variable = forms.ChoiceField(
        label="Or the key's variable",
        required=False,
        help_text=f"A variable of the server's environment whose name begins with {providers.KEY_PREFIX}.",
    )

    class Meta:
        model = Provider
        fields = ("name", "base_url", "key_variable", "enabled")
        help_texts = {
            "name": "Models are named after it: with “acme”, the model “acme/small” is its “small”. It stays as it is.",
            "enabled": "Switched off, its models answer no runs, and no other server answers in its place.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kept = bool(self.instance.sealed_key)
        if "api_key" in self.fields and kept:
            self.fields["api_key"].help_text = KEPT
        if "forget_key" in self.fields and not kept:
            del self.fields["forget_key"]
        variable = self.fields.get("key_variable")
        if isinstance(variable, forms.ChoiceField):
            named = self.instance.key_variable
            known = sorted(settings.KUMOS_PROVIDER_KEYS)
            missing = [(named, f"{named} (not set)")] if named and named not in known else []
            nothing = "(no variable)" if known or named else f"(no variable {providers.KEY_PREFIX}… is set)"
            variable.choices = [("", nothing), *((name, name) for name in known), *missing]

    def _get_validation_exclusions(self) -> set[str]:
        """The address is checked below: Django's own check knows no host without a dot, as "http://ollama:11434"."""
        excluded: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]
        return excluded | {"base_url"}

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        if name.lower() in RESERVED:
            raise ValidationError(f"“{name}” is the name of a model.")
        if name in {server.name for server in providers.of_settings()}:
            raise ValidationError(f"“{name}/…” leads to the server of the settings already.")
        return name

    def clean_base_url(self) -> str:
        address = str(self.cleaned_data["base_url"]).rstrip("/")
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
        if parts.path.endswith("/chat/completions"):
            raise ValidationError("Leave /chat/completions out: it is put behind this address.")
        if self._is_here(address):
            raise ValidationError("This is the address of this Kumos itself: every run would start another.")
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

    def save(self, commit: bool = True) -> Provider:
        data = self.cleaned_data
        if data.get("api_key"):
            self.instance.sealed_key = vault.seal(data["api_key"], data["base_url"])
        elif data.get("forget_key") or data.get("key_variable"):
            self.instance.sealed_key = ""
        return super().save(commit)
