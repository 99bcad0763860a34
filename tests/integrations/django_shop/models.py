"""
The tables.
"""

from django.db import models


class Plant(models.Model):
    name = models.CharField(max_length=40, unique=True)


class Leaf(models.Model):
    plant = models.ForeignKey(Plant, models.CASCADE, related_name="leaves")
    colour = models.CharField(max_length=20)
