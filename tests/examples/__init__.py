"""
Run the examples under their real servers, as their READMEs say.
"""
