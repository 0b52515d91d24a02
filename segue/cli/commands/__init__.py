"""What each verb of the command line does, one file each; `run` is `segue.run` itself."""
