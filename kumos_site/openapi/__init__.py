"""The OpenAPI document of /v1, made from the code: URL patterns, what views take and answer, serializers, types.

`manage.py openapi` writes it to docs/openapi.json, where it is kept; GET /v1/openapi.json answers it.
"""
