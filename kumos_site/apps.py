"""Django's app configurations of the composition root."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class KumosSiteConfig(AppConfig):
    name = "kumos_site"


class KumosAdminConfig(AdminConfig):
    default_site = "kumos_site.admin.KumosAdminSite"

    def ready(self) -> None:
        super().ready()
        from django.contrib.admin import site

        from kumos_site import people

        people.register(site)  # after Django's own, which they replace
