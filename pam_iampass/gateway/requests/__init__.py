"""Requests on phones, from the start that a host asks for until they are over."""
