"""
Name the platform's routes; obskit brings `/metrics` and `/health`.
"""

from django.urls import include, path

from vending import views

device = [
    path("", views.show_device),
    path("/sales", views.sell),
]
reports = [
    path("sales.csv", views.sales_csv),
]
urlpatterns = [
    path("", include("obskit.integrations.django.urls")),
    path("devices", views.list_devices),
    path("devices/<int:device_id>", include(device)),
    path("reports/", include(reports)),
    path("boom", views.boom),
]
