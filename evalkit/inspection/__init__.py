"""Why a ranking is as it is: query by query, document by document, and under disturbance."""
