"""Our models in a MONAI Label app that keeps its studies as stock MONAI Label does; copied as an app's ``main.py``."""

from __future__ import annotations

import monailabel.interfaces.app as stock
from monailabel.interfaces.datastore import Datastore

import covid_bert.main as ours

# Modules are imported, not classes: MONAI Label takes the first subclass of `MONAILabelApp` that it finds by name.


class StockDatastoreApp(ours.CovidBertApp, stock.MONAILabelApp):
    """The same infer tasks and weights as ours, with MONAI Label's local datastore."""

    def init_datastore(self) -> Datastore:
        """Return what stock MONAI Label would."""
        return stock.MONAILabelApp.init_datastore(self)
