"""What people keep at this subscriber: ``@public``, ``@shared`` and ``@personal``."""
