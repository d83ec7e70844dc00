"""The report as one HTML page: charts, figures, templates."""
