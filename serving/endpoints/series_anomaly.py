"""`POST /v1/series/anomaly`: series in; how far from normal they are out, and at which time steps."""

from bundle.tasks.series_anomaly import SeriesAnomaly, SeriesAnomalyOptions
from serving.endpoints.endpoint import Endpoint
from serving.http.media import SERIES

ENDPOINT = Endpoint(
    path="/v1/series/anomaly",
    task="series-anomaly-detection",
    summary="Find anomalies in series",
    medium=SERIES,
    options_type=SeriesAnomalyOptions,
    result_type=SeriesAnomaly,
    example="threshold=0.6",
)
