"""The process that runs the PAM module: what doors speak to."""
