"""What a browser needs of an array: raw bytes of a slice, statistics, envelopes of long lines, tiles of large pictures.

Pure numpy: functions take and return arrays and know no web; `caterva2_subscriber.handlers.view` serves them.
"""
