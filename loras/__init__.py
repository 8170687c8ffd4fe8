"""LoRAs: the catalogue (data) and the adapter code. Importing this loads nothing heavy."""
