"""Django's app configurations of the composition root."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class KumosSiteConfig(AppConfig):
    name = "kumos_site"


class KumosAdminConfig(AdminConfig):
    default_site = "kumos_site.admin.KumosAdminSite"
