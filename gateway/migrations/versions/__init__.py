"""The steps from one shape of the database to the next; a step that was released never changes."""
