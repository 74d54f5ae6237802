"""Archives that speak DICOMweb: their chest CT series as studies, and results stored beside them."""
