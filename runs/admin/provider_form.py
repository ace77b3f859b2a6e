"""The form of a provider: keyed_form.py, and what its names and its address may not be."""

from __future__ import annotations

from collections.abc import Mapping

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError

from runs.completers import providers
from runs.models import Provider

from .keyed_form import OWN_ADDRESS, KeyedForm

RESERVED = {providers.SCRIPTED, providers.DEFAULT}


class ProviderForm(KeyedForm):
    key_prefix = providers.KEY_PREFIX
    own_address = f"{OWN_ADDRESS[:-1]}: every run would start another."

    base_url = forms.CharField(
        label="Base URL",
        max_length=512,
        widget=forms.TextInput(attrs={"class": "vTextField", "spellcheck": "false"}),
        help_text="What comes before /chat/completions, mostly ending in /v1: https://models.example.org/v1",
    )

    class Meta:
        model = Provider
        fields = ("name", "base_url", "key_variable", "enabled")
        help_texts = {
            "name": "Models are named after it: with “acme”, the model “acme/small” is its “small”. It stays as it is.",
            "enabled": "Switched off, its models answer no runs, and no other server answers in its place.",
        }

    def keys(self) -> Mapping[str, str]:
        found: Mapping[str, str] = settings.KUMOS_PROVIDER_KEYS
        return found

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        if name.lower() in RESERVED:
            raise ValidationError(f"“{name}” is the name of a model.")
        if name in {server.name for server in providers.of_settings()}:
            raise ValidationError(f"“{name}/…” leads to the server of the settings already.")
        return name

    def clean_base_url(self) -> str:
        address = super().clean_base_url()
        if address.endswith("/chat/completions"):
            raise ValidationError("Leave /chat/completions out: it is put behind this address.")
        return address
