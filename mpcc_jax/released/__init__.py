"""The authors' released code: its weights in and out."""
