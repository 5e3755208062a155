"""What reading a YAML text can raise, beside what reading its file can."""

from __future__ import annotations

import yaml

NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)
"""A form that is none, bytes that are no text or values that are none of their type (a date of month 13), and too many
brackets in each other."""
