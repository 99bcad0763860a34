"""
Devices, what is in them, and what they sold.
"""

from django.db import models


class Device(models.Model):
    place = models.CharField(max_length=100)
    status = models.CharField(max_length=20)


class Stock(models.Model):
    device = models.ForeignKey(Device, models.CASCADE)
    product = models.CharField(max_length=50)
    price_cents = models.PositiveIntegerField()
    quantity = models.PositiveIntegerField()


class Sale(models.Model):
    device = models.ForeignKey(Device, models.CASCADE)
    product = models.CharField(max_length=50)
    cents = models.PositiveIntegerField()
