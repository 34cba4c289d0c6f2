"""
Makes Grafana's dashboards and the page that defines their numbers: ``python -m grafana.builder``, from the top level.

What a number means, its unit and its thresholds stand in `definitions` alone; panels and page take them from there.
"""
