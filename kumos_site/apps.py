"""Django's app configurations of the composition root."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class KumosSiteConfig(AppConfig):
    name = "kumos_site"

    def ready(self) -> None:
        from django.db import connection

        if connection.vendor == "sqlite":
            # Django would find out by a transaction of its own at every start, and takes a database in which another
            # process is writing for one that has no JSON.
            connection.features_class.supports_json_field = True


class KumosAdminConfig(AdminConfig):
    default_site = "kumos_site.admin.KumosAdminSite"

    def ready(self) -> None:
        super().ready()
        from django.contrib.admin import site

        from kumos_site import people

        people.register(site)  # after Django's own, which they replace
