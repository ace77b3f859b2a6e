"""The forms of API keys: what one may do, for how long and for how much; and what is asked before one is rotated."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError

from assistants import clock
from assistants.models import ApiKey
from assistants.scopes import READING, Scope

if TYPE_CHECKING:
    KeyModelForm = forms.ModelForm[ApiKey]
else:  # Django's own class cannot be subscripted at run time
    KeyModelForm = forms.ModelForm

EVERYTHING, READ, CHOSEN = "all", "read", "chosen"
ACCESS = (
    (EVERYTHING, "Everything, also what later releases add"),
    (READ, "Read only"),
    (CHOSEN, "Only what is ticked"),
)
GRACES = {
    "0": (timedelta(), "no longer: it stops at once"),
    "3600": (timedelta(hours=1), "for an hour"),
    "86400": (timedelta(hours=24), "for 24 hours"),
    "604800": (timedelta(days=7), "for 7 days"),
}


class KeyForm(KeyModelForm):
    access = forms.ChoiceField(
        choices=ACCESS, widget=forms.RadioSelect, required=False, label="May do", initial=EVERYTHING
    )
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text="What a request needs beyond that is answered with 403 and the name of the missing scope.",
    )

    class Meta:
        model = ApiKey
        fields = ("project", "name", "scopes", "expires_at", "budget")
        help_texts = {
            "project": "The key reaches what belongs to this project, and nothing else.",
            "name": "Who or what uses it, for example “billing service”.",
            "expires_at": "UTC. Empty: the key works until it is revoked.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.scopes:
            is_reading = sorted(self.instance.scopes) == sorted(READING)
            self.initial.setdefault("access", READ if is_reading else CHOSEN)

    def clean_expires_at(self) -> Any:
        """A time that is over would be a way to revoke, and one that is hard to tell from a slip."""
        wanted = self.cleaned_data["expires_at"]
        if wanted and "expires_at" in self.changed_data and wanted <= clock.now():
            raise ValidationError("This time is over. To stop a key at once, revoke it.")
        return wanted

    def clean(self) -> dict[str, Any] | None:
        super().clean()
        ticked = sorted(self.cleaned_data.get("scopes") or ())
        match self.cleaned_data.get("access"):
            case "all":
                wanted: list[str] = []
            case "read":
                wanted = list(READING)
            case "chosen" if not ticked:
                self.add_error("scopes", "Tick what the key may do: a key without any scope would have all of them.")
                wanted = ticked
            case "chosen":
                wanted = ticked
            case _:  # not of our page: what is not named stays
                wanted = ticked or self.instance.scopes
        self.cleaned_data["scopes"] = wanted
        return self.cleaned_data


class RotateForm(forms.Form):
    grace = forms.ChoiceField(
        label="The old key works on",
        choices=[(value, words) for value, (_, words) in GRACES.items()],
        widget=forms.RadioSelect,
        initial="86400",
    )
    expires_at = forms.DateTimeField(
        label="The new key expires at",
        required=False,
        help_text="UTC. Empty: it works until it is revoked.",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )

    def clean_expires_at(self) -> Any:
        wanted = self.cleaned_data["expires_at"]
        if wanted and wanted <= clock.now():
            raise ValidationError("This time is over.")
        return wanted


def expiry_of_next(key: ApiKey) -> Any:
    """What is proposed for the key after this one: to live as long as it was made for."""
    if key.expires_at is None:
        return None
    try:
        return clock.now() + (key.expires_at - key.created_at)
    except OverflowError:  # "never", as 9999-12-31
        return key.expires_at
