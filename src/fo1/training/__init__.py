"""Training: stages and recipes as values, Hugging Face's Trainer underneath, runs that go on where they stopped.

recipe = get_recipe("nano")                   fo1.training.recipes
run(Run(recipe, load, processor, ...))        fo1.training.run
"""
