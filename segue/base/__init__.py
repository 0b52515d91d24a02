"""What every room uses and nothing of segue is below: settings, plug-ins, files of others as JSON
and YAML.
"""
