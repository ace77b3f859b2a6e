"""The admin site of Kumos."""

from django.contrib.admin import AdminSite


class KumosAdminSite(AdminSite):
    site_header = "Kumos"
    site_title = "Kumos"
    index_title = "Overview"
