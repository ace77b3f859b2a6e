"""The operator's own prices of models. Others `runs/prices.py` looks up in the table that Kumos brings."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.validators import MinValueValidator
from django.db.models import Q
from django.http import HttpRequest

from assistants import clock
from assistants.admin.lists import BoundedAdmin
from runs import budgets, prices
from runs.completers import providers
from runs.models import ModelPrice, UsageRecord

if TYPE_CHECKING:
    StockForm = forms.ModelForm[ModelPrice]
else:
    StockForm = forms.ModelForm

PRICED_AT_ONCE = 10_000


class PriceForm(StockForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("prompt", "cached", "completion"):
            if name in self.fields:
                self.fields[name].validators.append(MinValueValidator(Decimal(0)))

    def clean_model(self) -> str:
        """Names are compared in small letters, so two that differ in nothing else would be one."""
        model = str(self.cleaned_data["model"]).strip()
        if ModelPrice.objects.filter(model__iexact=model).exclude(pk=self.instance.pk).exists():
            raise forms.ValidationError("This model has a price already.")
        return model


@admin.register(ModelPrice)
class ModelPriceAdmin(BoundedAdmin):
    form = PriceForm
    empty_hint = "Costs come from the table that Kumos brings. Enter a price where you know better, or it knows none."
    list_display = ("model", "prompt_shown", "cached_shown", "completion_shown")
    search_fields = ("model",)
    search_help_text = "A part of the model's name."
    actions = ("price_earlier_runs",)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        kwargs["help_texts"] = {
            "model": "As assistants call it, for example “gpt-4o” or “my-gateway/llama-3”. Without a provider before"
            " the stroke it holds for that model at every provider.",
            "prompt": "US dollars a million tokens that are sent. 0 where it costs nothing.",
            "cached": "The same for tokens that the provider had in its cache. Empty: as the others.",
            "completion": "US dollars a million tokens that are answered.",
        }
        return super().get_form(request, obj, change=change, **kwargs)

    def save_model(self, request: HttpRequest, obj: ModelPrice, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        prices.forget()

    def delete_model(self, request: HttpRequest, obj: ModelPrice) -> None:
        super().delete_model(request, obj)
        prices.forget()

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        super().delete_queryset(request, queryset)
        prices.forget()

    @admin.action(permissions=["change"], description="Price this month's runs of selected models that had no price")
    def price_earlier_runs(self, request: HttpRequest, chosen: Any) -> None:
        priced, unfinished = 0, []
        for price in chosen:
            count, is_all = price_unpriced(price)
            self.log_change(request, price, f"Priced {count:,} earlier run{'' if count == 1 else 's'}.")
            priced += count
            if not is_all:
                unfinished.append(price.model)
        told = "1 run has a cost now." if priced == 1 else f"{priced:,} runs have a cost now."
        self.message_user(request, told, messages.SUCCESS)
        if unfinished:
            left = f"More are left of: {', '.join(unfinished)}. Do it again to go on."
            self.message_user(request, left, messages.WARNING)

    @admin.display(description="In ($ a million tokens)")
    def prompt_shown(self, price: ModelPrice) -> str:
        return plain(price.prompt)

    @admin.display(description="Cached")
    def cached_shown(self, price: ModelPrice) -> str:
        return "as in" if price.cached is None else plain(price.cached)

    @admin.display(description="Out")
    def completion_shown(self, price: ModelPrice) -> str:
        return plain(price.completion)


def price_unpriced(price: ModelPrice) -> tuple[int, bool]:
    """Prices this month's runs that had no price and have this one, the newest first: as many as are done at once.
    Returns how many that were, and whether it was all of them.

    Which price a run has is said by the book alone, as where a run ends: by its whole name, or behind a provider's.
    """
    prices.forget()
    book = prices.own_book()
    unpriced = UsageRecord.objects.filter(ended_at__gte=budgets.month_of(clock.now()), cost=None).order_by()

    def has_it(model: str) -> bool:
        return book.named(model) == price.model.lower()

    named = unpriced.exclude(model__in=providers.DEFAULTS).values_list("model", flat=True).distinct()
    models = [model for model in named if has_it(model)]
    by_default = unpriced.filter(model__in=providers.DEFAULTS).values_list("project_id", flat=True).distinct()
    meant = {project: providers.meant(providers.DEFAULT, project) for project in by_default}
    projects = [project for project, model in meant.items() if has_it(model)]
    its = unpriced.filter(Q(model__in=models) | Q(model__in=providers.DEFAULTS, project_id__in=projects))

    found = list(its.order_by("-ended_at")[: PRICED_AT_ONCE + 1])
    records = found[:PRICED_AT_ONCE]
    for record in records:
        tokens = (record.prompt_tokens, record.cached_tokens, record.completion_tokens)
        model = meant[record.project_id] if record.model in providers.DEFAULTS else record.model
        record.cost = prices.cost_of(model, *tokens)
    UsageRecord.objects.bulk_update(records, ["cost"], batch_size=500)
    return len(records), len(found) == len(records)


def plain(amount: Decimal) -> str:
    """Without the zeros that say nothing: 2.50, 0.075."""
    text = f"{amount:.6f}".rstrip("0")
    whole, _, part = text.partition(".")
    return f"${whole}.{part:0<2}"
