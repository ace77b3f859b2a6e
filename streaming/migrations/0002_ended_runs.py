"""Runs whose deltas are still kept: all that have ended so far (streaming/retention.py)."""

import django.db.models.deletion
from django.db import migrations, models

FILL = """
INSERT INTO streaming_endedrun (run_id, thread_id, ended_at)
SELECT run_id, thread_id, created_at FROM streaming_event WHERE name IN (
    'thread.run.completed', 'thread.run.failed', 'thread.run.cancelled', 'thread.run.expired', 'thread.run.incomplete'
)
"""


class Migration(migrations.Migration):

    dependencies = [
        ('assistants', '0005_departed'),
        ('streaming', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='EndedRun',
            fields=[
                ('run_id', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('ended_at', models.DateTimeField(db_index=True)),
                ('thread', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='assistants.thread')),
            ],
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
