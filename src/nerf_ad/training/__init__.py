"""One visible loop per stage."""
