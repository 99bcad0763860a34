"""
Answer the platform's requests, with metrics of its own.
"""

from collections.abc import Iterator

from django import forms
from django.db import transaction
from django.db.models import F
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET, require_POST

import obskit
from vending.models import Device, Sale, Stock

CARD_LIMIT_CENTS = 1000

sales = obskit.counter("sales_total", "Products sold.", labels=["product"])
payments = obskit.histogram("payment_seconds", "Seconds that payments took.", labels=["method", "status"])


class SaleForm(forms.Form):
    product = forms.CharField(max_length=50)
    quantity = forms.IntegerField(min_value=1, max_value=20)


class Refused(Exception):
    pass


@obskit.observe("take_from_stock")
def take_from_stock(device_id: int, product: str, quantity: int) -> int:
    stock = Stock.objects.filter(device_id=device_id, product=product, quantity__gte=quantity)
    if not stock.update(quantity=F("quantity") - quantity):
        raise Refused("out of stock")
    return quantity * Stock.objects.get(device_id=device_id, product=product).price_cents


@payments.time(method="card")  # the label `status` becomes success or error
def charge(cents: int) -> None:
    if cents > CARD_LIMIT_CENTS:
        raise Refused("the card's limit is exceeded")


@require_GET
def list_devices(request: HttpRequest) -> HttpResponse:
    return JsonResponse(list(Device.objects.order_by("id").values()), safe=False)


@require_GET
def show_device(request: HttpRequest, device_id: int) -> HttpResponse:
    device = get_object_or_404(Device.objects.values(), id=device_id)
    stock = Stock.objects.filter(device_id=device_id).values_list("product", "quantity")
    return JsonResponse({**device, "stock": dict(stock)})


@require_POST
def sell(request: HttpRequest, device_id: int) -> HttpResponse:
    form = SaleForm(request.POST)
    if not form.is_valid():
        return JsonResponse({"errors": form.errors}, status=422)
    product, quantity = form.cleaned_data["product"], form.cleaned_data["quantity"]
    obskit.bind(product=product)  # a field of this request's log lines, never a label
    try:
        with transaction.atomic():
            cents = take_from_stock(device_id, product, quantity)
            charge(cents)
            Sale.objects.create(device_id=device_id, product=product, cents=cents)
    except Refused as refusal:
        return JsonResponse({"error": str(refusal)}, status=409)
    sales.inc(quantity, product=product)
    return JsonResponse({"product": product, "cents": cents}, status=201)


@require_GET
def sales_csv(request: HttpRequest) -> StreamingHttpResponse:
    def lines() -> Iterator[str]:
        yield "device,product,cents\n"
        for sale in Sale.objects.order_by("id").iterator():
            yield f"{sale.device_id},{sale.product},{sale.cents}\n"

    return StreamingHttpResponse(lines(), content_type="text/csv")


def boom(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("the coin slot is jammed")
