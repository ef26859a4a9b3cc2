"""How much does randomizing a classifier's output really protect it?"""
